//! AVX-512: 16 lanes.

use std::arch::x86_64::*;
use std::ops::{Add, Mul, Sub};

use super::{Kernel, MAX_LANES, SQRT_HALF, Simd, Vector};

/// Proof that the CPU has AVX-512F, AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

/// Runs `kernel` compiled for AVX-512.
///
/// # Safety
/// The CPU has AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

vector!(F32x16, __m512, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps);

impl Simd for Avx512 {
    type V = F32x16;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x16 {
        // SAFETY: the token proves AVX-512F.
        F32x16(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn prefetch<T>(self, value: &T) {
        // SAFETY: a prefetch reads nothing that a program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) }
    }

    #[inline(always)]
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> F32x16 {
        // SAFETY: the caller's promise covers the four floats at `at` of each row; the token proves AVX-512F.
        unsafe {
            let four = |j: usize| _mm_loadu_ps(rows[4 * j + first].add(at));
            let low = _mm512_castps256_ps512(_mm256_set_m128(four(1), four(0)));
            let high = _mm256_castps_pd(_mm256_set_m128(four(3), four(2)));
            F32x16(_mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castps_pd(low), high)))
        }
    }

    #[inline(always)]
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> F32x16 {
        // SAFETY: the caller's promise covers the four integers at `at` of each row; the token proves AVX-512F.
        unsafe {
            let four = |j: usize| _mm_loadl_epi64(rows[4 * j + first].add(at).cast());
            let low = _mm_unpacklo_epi64(four(0), four(1));
            let high = _mm_unpacklo_epi64(four(2), four(3));
            let wide = _mm512_cvtepi16_epi32(_mm256_set_m128i(high, low));
            F32x16(_mm512_mul_ps(_mm512_cvtepi32_ps(wide), _mm512_set1_ps(1.0 / 32_768.0)))
        }
    }
}

// SAFETY: one register of float32 values. Of every block below: a vector exists only where its token did, and that proves AVX-512F.
unsafe impl Vector for F32x16 {
    #[inline(always)]
    fn like(self, x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fnmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let e = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF)));
            let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(e));
            (Self(_mm512_cvtepi32_ps(e)), Self(_mm512_castsi512_ps(m)))
        }
    }

    #[inline(always)]
    fn shift_in(self, last: f32) -> Self {
        // SAFETY: as above.
        unsafe {
            let last = _mm512_castps_si512(_mm512_set1_ps(last));
            Self(_mm512_castsi512_ps(_mm512_alignr_epi32::<1>(last, _mm512_castps_si512(self.0))))
        }
    }

    #[inline(always)]
    fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: as above.
        unsafe {
            let ab =
                [_mm512_unpacklo_ps(a.0, b.0), _mm512_unpackhi_ps(a.0, b.0)].map(|x| _mm512_castps_pd(x));
            let cd =
                [_mm512_unpacklo_ps(c.0, d.0), _mm512_unpackhi_ps(c.0, d.0)].map(|x| _mm512_castps_pd(x));
            [
                Self(_mm512_castpd_ps(_mm512_unpacklo_pd(ab[0], cd[0]))),
                Self(_mm512_castpd_ps(_mm512_unpackhi_pd(ab[0], cd[0]))),
                Self(_mm512_castpd_ps(_mm512_unpacklo_pd(ab[1], cd[1]))),
                Self(_mm512_castpd_ps(_mm512_unpackhi_pd(ab[1], cd[1]))),
            ]
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let lanes = (1_u32 << out.len().min(16)) - 1;
        // SAFETY: as above; the mask has a lane for each value of `out` and no more.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), lanes as u16, self.0) }
    }
}
