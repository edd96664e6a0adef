//! AVX2 with fused multiply-add, and the instructions for bits that come with it: 8 lanes.

use std::arch::x86_64::*;

use super::{INT16, Kernel, MAX_LANES, SQRT_HALF, Simd, Vector, Wide};

/// Proof that the CPU has AVX2, FMA, BMI2 and LZCNT.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// Runs `kernel` compiled for AVX2.
#[target_feature(enable = "avx2,fma,bmi2,lzcnt")]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

vector!(F32x8, __m256, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps);
wide!(F64x8, F32x8, __m256d, _mm256_add_pd, _mm256_fmadd_pd);

/// The first lanes, fewer than 8: all bits of theirs are set.
#[inline(always)]
fn first(count: usize) -> *const __m256i {
    static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    FIRST[8 - count..][..8].as_ptr().cast()
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const WINDOW: usize = 16;
    type V = F32x8;
    type Window = [__m256; 2];
    /// The lane of either register, and the register by its sign.
    type Places = (__m256i, __m256);

    intrinsic! {
        fn splat(self, x: f32) -> F32x8 { F32x8(_mm256_set1_ps(x)) }
        fn zero(self) -> F64x8 { F64x8([_mm256_setzero_pd(); 2]) }

        fn load(self, from: &[f32]) -> F32x8 {
            F32x8(match from.first_chunk::<8>() {
                Some(from) => _mm256_loadu_ps(from.as_ptr()),
                None => _mm256_maskload_ps(from.as_ptr(), _mm256_loadu_si256(first(from.len()))),
            })
        }

        fn window(self, from: &[f32]) -> [__m256; 2] {
            let from = &from[..16];
            [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())]
        }

        fn places(self, places: F32x8, shift: i32) -> (__m256i, __m256) {
            let place = _mm256_add_epi32(_mm256_cvtps_epi32(places.0), _mm256_set1_epi32(shift));
            (place, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(place)))
        }

        fn pick(self, [low, high]: [__m256; 2], (lane, register): (__m256i, __m256)) -> F32x8 {
            let (low, high) = (_mm256_permutevar8x32_ps(low, lane), _mm256_permutevar8x32_ps(high, lane));
            F32x8(_mm256_blendv_ps(low, high, register))
        }

        fn prefetch<T>(self, value: Option<&T>) {
            if let Some(value) = value {
                _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast());
            }
        }
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
            F32x8(_mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(INT16)))
        }
    }
}

// SAFETY: one register of float32 values.
unsafe impl Vector for F32x8 {
    type Wide = F64x8;

    intrinsic! {
        fn mul_add(self, b: Self, c: Self) -> Self { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
        fn neg_mul_add(self, b: Self, c: Self) -> Self { Self(_mm256_fnmadd_ps(self.0, b.0, c.0)) }
        fn min(self, other: Self) -> Self { Self(_mm256_min_ps(self.0, other.0)) }
        fn max(self, other: Self) -> Self { Self(_mm256_max_ps(self.0, other.0)) }
        fn round(self) -> Self { Self(_mm256_round_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
        fn floor(self) -> Self { Self(_mm256_round_ps::<_MM_FROUND_TO_NEG_INF>(self.0)) }

        fn times_power_of_two(self, n: Self) -> Self {
            let n = _mm256_cvtps_epi32(_mm256_min_ps(n.0, _mm256_set1_ps(128.0)));
            let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127)));
            Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(power)))
        }

        fn split(self) -> (Self, Self) {
            let bits = _mm256_castps_si256(self.0);
            let e = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF)));
            let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e));
            (Self(_mm256_castsi256_ps(m)), Self(_mm256_cvtepi32_ps(e)))
        }

        fn shift_in(self, last: f32) -> Self {
            let down = _mm256_permutevar8x32_ps(self.0, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
            Self(_mm256_blend_ps::<0x80>(down, _mm256_set1_ps(last)))
        }

        fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let pairs = |x: Self, y: Self| {
                [_mm256_unpacklo_ps(x.0, y.0), _mm256_unpackhi_ps(x.0, y.0)].map(|pair| _mm256_castps_pd(pair))
            };
            let ([ab0, ab1], [cd0, cd1]) = (pairs(a, b), pairs(c, d));
            [
                _mm256_unpacklo_pd(ab0, cd0), _mm256_unpackhi_pd(ab0, cd0),
                _mm256_unpacklo_pd(ab1, cd1), _mm256_unpackhi_pd(ab1, cd1),
            ].map(|x| Self(_mm256_castpd_ps(x)))
        }

        fn store(self, to: &mut [f32]) {
            match to.first_chunk_mut::<8>() {
                Some(to) => _mm256_storeu_ps(to.as_mut_ptr(), self.0),
                None => _mm256_maskstore_ps(to.as_mut_ptr(), _mm256_loadu_si256(first(to.len())), self.0),
            }
        }
    }
}

impl F32x8 {
    intrinsic! {
        fn halves(self) -> [__m256d; 2] {
            [_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0)].map(|x| _mm256_cvtps_pd(x))
        }
    }
}
