//! AVX2 with fused multiply-add: 8 lanes.

use std::arch::x86_64::*;
use std::ops::{Add, Mul, Sub};

use super::{Kernel, MAX_LANES, SQRT_HALF, Simd, Vector};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// Runs `kernel` compiled for AVX2.
///
/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

vector!(F32x8, __m256, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps);

impl Simd for Avx2 {
    type V = F32x8;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        // SAFETY: the token proves AVX2.
        F32x8(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn prefetch<T>(self, value: &T) {
        // SAFETY: a prefetch reads nothing that a program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()) }
    }

    #[inline(always)]
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> F32x8 {
        // SAFETY: the caller's promise covers the four floats at `at` of each row; the token proves AVX2.
        unsafe {
            let four = |j: usize| _mm_loadu_ps(rows[4 * j + first].add(at));
            F32x8(_mm256_set_m128(four(1), four(0)))
        }
    }

    #[inline(always)]
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> F32x8 {
        // SAFETY: the caller's promise covers the four integers at `at` of each row; the token proves AVX2.
        unsafe {
            let four = |j: usize| _mm_loadl_epi64(rows[4 * j + first].add(at).cast());
            let wide = _mm256_cvtepi16_epi32(_mm_unpacklo_epi64(four(0), four(1)));
            F32x8(_mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(1.0 / 32_768.0)))
        }
    }
}

// SAFETY: one register of float32 values. Of every block below: a vector exists only where its token did, and that proves AVX2 and FMA.
unsafe impl Vector for F32x8 {
    #[inline(always)]
    fn like(self, x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fnmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let e = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF)));
            let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e));
            (Self(_mm256_cvtepi32_ps(e)), Self(_mm256_castsi256_ps(m)))
        }
    }

    #[inline(always)]
    fn shift_in(self, last: f32) -> Self {
        // SAFETY: as above.
        unsafe {
            let down = _mm256_permutevar8x32_ps(self.0, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
            Self(_mm256_blend_ps::<0x80>(down, _mm256_set1_ps(last)))
        }
    }

    #[inline(always)]
    fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: as above.
        unsafe {
            let ab =
                [_mm256_unpacklo_ps(a.0, b.0), _mm256_unpackhi_ps(a.0, b.0)].map(|x| _mm256_castps_pd(x));
            let cd =
                [_mm256_unpacklo_ps(c.0, d.0), _mm256_unpackhi_ps(c.0, d.0)].map(|x| _mm256_castps_pd(x));
            [
                Self(_mm256_castpd_ps(_mm256_unpacklo_pd(ab[0], cd[0]))),
                Self(_mm256_castpd_ps(_mm256_unpackhi_pd(ab[0], cd[0]))),
                Self(_mm256_castpd_ps(_mm256_unpacklo_pd(ab[1], cd[1]))),
                Self(_mm256_castpd_ps(_mm256_unpackhi_pd(ab[1], cd[1]))),
            ]
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let mut lanes = [0.0; 8];
        // SAFETY: as above; both places have room for eight floats.
        unsafe {
            if out.len() == 8 {
                return _mm256_storeu_ps(out.as_mut_ptr(), self.0);
            }
            _mm256_storeu_ps(lanes.as_mut_ptr(), self.0);
        }
        out.copy_from_slice(&lanes[..out.len()]);
    }
}
