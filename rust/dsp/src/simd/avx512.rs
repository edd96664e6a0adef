//! AVX-512: 16 lanes.

use std::arch::x86_64::*;

use super::{INT16, Kernel, MAX_LANES, SQRT_HALF, Simd, Vector, Wide};

/// Proof that the CPU has AVX-512F, AVX2, FMA, BMI2 and LZCNT.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

/// Runs `kernel` compiled for AVX-512.
#[target_feature(enable = "avx512f,avx2,fma,bmi2,lzcnt")]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

vector!(F32x16, __m512, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps);
wide!(F64x16, F32x16, __m512d, _mm512_add_pd, _mm512_fmadd_pd);

/// A mask of the first lanes, fewer than 16.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    (1 << count) - 1
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const WINDOW: usize = 32;
    type V = F32x16;
    type Window = [__m512; 2];
    type Places = __m512i;

    intrinsic! {
        fn splat(self, x: f32) -> F32x16 { F32x16(_mm512_set1_ps(x)) }
        fn zero(self) -> F64x16 { F64x16([_mm512_setzero_pd(); 2]) }

        fn load(self, from: &[f32]) -> F32x16 {
            F32x16(match from.first_chunk::<16>() {
                Some(from) => _mm512_loadu_ps(from.as_ptr()),
                None => _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()),
            })
        }

        fn window(self, from: &[f32]) -> [__m512; 2] {
            let from = &from[..32];
            [_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from[16..].as_ptr())]
        }

        fn places(self, places: F32x16, shift: i32) -> __m512i {
            _mm512_add_epi32(_mm512_cvtps_epi32(places.0), _mm512_set1_epi32(shift))
        }

        fn pick(self, [low, high]: [__m512; 2], places: __m512i) -> F32x16 {
            F32x16(_mm512_permutex2var_ps(low, places, high))
        }

        fn prefetch<T>(self, value: Option<&T>) {
            if let Some(value) = value {
                _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast());
            }
        }
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
            F32x16(_mm512_mul_ps(_mm512_cvtepi32_ps(wide), _mm512_set1_ps(INT16)))
        }
    }
}

// SAFETY: one register of float32 values.
unsafe impl Vector for F32x16 {
    type Wide = F64x16;

    intrinsic! {
        fn mul_add(self, b: Self, c: Self) -> Self { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
        fn neg_mul_add(self, b: Self, c: Self) -> Self { Self(_mm512_fnmadd_ps(self.0, b.0, c.0)) }
        fn min(self, other: Self) -> Self { Self(_mm512_min_ps(self.0, other.0)) }
        fn max(self, other: Self) -> Self { Self(_mm512_max_ps(self.0, other.0)) }
        fn round(self) -> Self { Self(_mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
        fn floor(self) -> Self { Self(_mm512_roundscale_ps::<_MM_FROUND_TO_NEG_INF>(self.0)) }
        fn times_power_of_two(self, n: Self) -> Self { Self(_mm512_scalef_ps(self.0, n.0)) }

        fn split(self) -> (Self, Self) {
            let bits = _mm512_castps_si512(self.0);
            let e = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF)));
            let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(e));
            (Self(_mm512_castsi512_ps(m)), Self(_mm512_cvtepi32_ps(e)))
        }

        fn shift_in(self, last: f32) -> Self {
            let last = _mm512_castps_si512(_mm512_set1_ps(last));
            Self(_mm512_castsi512_ps(_mm512_alignr_epi32::<1>(last, _mm512_castps_si512(self.0))))
        }

        fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let pairs = |x: Self, y: Self| {
                [_mm512_unpacklo_ps(x.0, y.0), _mm512_unpackhi_ps(x.0, y.0)].map(|pair| _mm512_castps_pd(pair))
            };
            let ([ab0, ab1], [cd0, cd1]) = (pairs(a, b), pairs(c, d));
            [
                _mm512_unpacklo_pd(ab0, cd0), _mm512_unpackhi_pd(ab0, cd0),
                _mm512_unpacklo_pd(ab1, cd1), _mm512_unpackhi_pd(ab1, cd1),
            ].map(|x| Self(_mm512_castpd_ps(x)))
        }

        fn store(self, to: &mut [f32]) {
            match to.first_chunk_mut::<16>() {
                Some(to) => _mm512_storeu_ps(to.as_mut_ptr(), self.0),
                None => _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), self.0),
            }
        }
    }
}

impl F32x16 {
    intrinsic! {
        fn halves(self) -> [__m512d; 2] {
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
            [_mm512_cvtps_pd(_mm512_castps512_ps256(self.0)), _mm512_cvtps_pd(high)]
        }
    }
}
