//! Vectors of float32 values that lie side by side, for the instruction set that [`Isa`] chose.
//!
//! A kernel is written once, generic over [`Simd`], and [`run`] compiles it for every instruction set: each
//! of its functions is `#[inline(always)]`, so that all of it lands inside one function that has the set enabled.
//!
//! Why this is sound: a token ([`x86::Avx512`], ...) is made only where its [`Isa`] was detected, every vector comes
//! out of a token or another vector, and so wherever a vector can be touched the CPU has its instructions. Memory
//! is reached through slices whose length is checked.

use std::ops::{Add, Mul, Sub};

use crate::simd::{Isa, Kind};

/// Work that runs on any instruction set; `run` must be `#[inline(always)]`, with all that it calls.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work on the instruction set of the token `isa`.
    fn run<I: Simd>(self, isa: I) -> Self::Output;
}

/// Runs `kernel` compiled for the instruction set `isa`.
pub fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::available`, which alone makes an `Isa`, found AVX-512F, AVX2 and FMA.
        Kind::Avx512 => unsafe { x86::run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::available` found AVX2 and FMA.
        Kind::Avx2 => unsafe { x86::run_avx2(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Isa::available` found NEON.
        Kind::Neon => unsafe { neon::run(kernel) },
        Kind::Scalar => kernel.run(scalar::Scalar),
    }
}

/// An instruction set that is enabled where this token is at hand.
pub trait Simd: Copy {
    /// Values of a vector: 4, 8 or 16.
    const LANES: usize;
    /// Values of a window: at least ⌈1.6 (LANES − 1)⌉ + 4.
    const WINDOW: usize;
    /// A vector of [`Simd::LANES`] float32 values.
    type V: Vector;
    /// [`Simd::WINDOW`] values that lie side by side, to pick from.
    type Window: Copy;
    /// Which value of a window goes into each lane.
    type Places: Copy;

    /// A vector of `LANES` times `x`.
    fn splat(self, x: f32) -> Self::V;

    /// Sums of nothing yet.
    fn zero(self) -> <Self::V as Vector>::Wide;

    /// The first `LANES` values of `from`. Panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::V;

    /// The values of `from`, at most `LANES`, then zeros.
    fn load_part(self, from: &[f32]) -> Self::V;

    /// Asks for the value at `at` of `from` to be brought into the cache; does nothing where there is none.
    fn prefetch(self, from: &[f32], at: usize);

    /// The first `WINDOW` values of `from`. Panics if there are fewer.
    fn window(self, from: &[f32]) -> Self::Window;

    /// `places` (whole numbers, 0 ≤ places + shift < `WINDOW`) + `shift`.
    fn places(self, places: Self::V, shift: i32) -> Self::Places;

    /// The values of `window` at `places`.
    fn pick(self, window: Self::Window, places: Self::Places) -> Self::V;
}

/// [`Simd::LANES`] float32 values that are computed on together.
pub trait Vector: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Sums of each lane in float64.
    type Wide: Wide<Self>;

    /// self · b + c, rounded once where the CPU can.
    fn mul_add(self, b: Self, c: Self) -> Self;

    /// The smaller of each lane; `other` where either is NaN.
    fn min(self, other: Self) -> Self;

    /// The larger of each lane; `other` where either is NaN.
    fn max(self, other: Self) -> Self;

    /// The nearest whole number, ties to even; magnitudes below 2²².
    fn round(self) -> Self;

    /// The next whole number below; magnitudes below 2²².
    fn floor(self) -> Self;

    /// self · 2ⁿ for whole n from −126; infinite from n = 128 on.
    fn times_power_of_two(self, n: Self) -> Self;

    /// Positive normal values as m · 2^e: (m, e), m in [√½, √2).
    fn split(self) -> (Self, Self);

    /// Writes the vector to the first `LANES` values of `to`. Panics if there are fewer.
    fn store(self, to: &mut [f32]);

    /// Writes the first lanes, as many as `to` has values, at most `LANES`.
    fn store_part(self, to: &mut [f32]);
}

/// Running sums in float64, one a lane, so that their order is fixed.
pub trait Wide<V>: Copy {
    /// Adds `v`.
    fn plus(self, v: V) -> Self;
    /// Adds v².
    fn plus_square(self, v: V) -> Self;
    /// The sum of all lanes, first to last.
    fn total(self) -> f64;
}

/// √½ as float32: where the mantissa of [`Vector::split`] begins.
const SQRT_HALF: u32 = 0x3f35_04f3;

/// Makes `+`, `-` and `*` of three intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operators {
    ($vector:ident, $add:ident, $sub:ident, $mul:ident) => {
        operators!($vector: Add, add, $add);
        operators!($vector: Sub, sub, $sub);
        operators!($vector: Mul, mul, $mul);
    };
    ($vector:ident: $operator:ident, $name:ident, $intrinsic:ident) => {
        impl $operator for $vector {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: a vector exists only where the CPU has its instructions.
                Self(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    };
}

/// An expression of intrinsics of the token or vector `self`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! with_isa {
    ($expression:expr) => {
        // SAFETY: the token or vector at hand exists only where the CPU has the instructions; where memory is
        // touched, the length of the slice was checked just before.
        unsafe { $expression }
    };
}

/// AVX-512 and AVX2.
#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use std::arch::x86_64::*;
    use std::ops::{Add, Mul, Sub};

    use super::{Kernel, SQRT_HALF, Simd, Vector, Wide};

    /// AVX-512F is enabled here.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    /// AVX2 and FMA are enabled here.
    #[derive(Clone, Copy)]
    pub struct Avx2(());

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }

    /// 16 values.
    #[derive(Clone, Copy)]
    pub struct F512(__m512);

    /// 8 values.
    #[derive(Clone, Copy)]
    pub struct F256(__m256);

    operators!(F512, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps);
    operators!(F256, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps);

    /// A mask of the first `count` of 16 lanes.
    #[inline(always)]
    fn first(count: usize) -> __mmask16 {
        if count >= 16 { !0 } else { (1 << count) - 1 }
    }

    impl Simd for Avx512 {
        const LANES: usize = 16;
        const WINDOW: usize = 32;
        type V = F512;
        type Window = (__m512, __m512);
        type Places = __m512i;

        #[inline(always)]
        fn splat(self, x: f32) -> F512 {
            F512(with_isa!(_mm512_set1_ps(x)))
        }

        #[inline(always)]
        fn zero(self) -> W512 {
            with_isa!(W512(_mm512_setzero_pd(), _mm512_setzero_pd()))
        }

        #[inline(always)]
        fn load(self, from: &[f32]) -> F512 {
            let from = &from[..16];
            F512(with_isa!(_mm512_loadu_ps(from.as_ptr())))
        }

        #[inline(always)]
        fn load_part(self, from: &[f32]) -> F512 {
            F512(with_isa!(_mm512_maskz_loadu_ps(first(from.len()), from.as_ptr())))
        }

        #[inline(always)]
        fn prefetch(self, from: &[f32], at: usize) {
            if let Some(value) = from.get(at) {
                with_isa!(_mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()));
            }
        }

        #[inline(always)]
        fn window(self, from: &[f32]) -> Self::Window {
            let from = &from[..32];
            with_isa!((_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16))))
        }

        #[inline(always)]
        fn places(self, places: F512, shift: i32) -> Self::Places {
            with_isa!(_mm512_add_epi32(_mm512_cvtps_epi32(places.0), _mm512_set1_epi32(shift)))
        }

        #[inline(always)]
        fn pick(self, (low, high): Self::Window, places: Self::Places) -> F512 {
            F512(with_isa!(_mm512_permutex2var_ps(low, places, high)))
        }
    }

    impl Vector for F512 {
        type Wide = W512;

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            Self(with_isa!(_mm512_fmadd_ps(self.0, b.0, c.0)))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(with_isa!(_mm512_min_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(with_isa!(_mm512_max_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn round(self) -> Self {
            Self(with_isa!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
        }

        #[inline(always)]
        fn floor(self) -> Self {
            Self(with_isa!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)))
        }

        #[inline(always)]
        fn times_power_of_two(self, n: Self) -> Self {
            Self(with_isa!(_mm512_scalef_ps(self.0, n.0)))
        }

        #[inline(always)]
        fn split(self) -> (Self, Self) {
            with_isa!({
                let bits = _mm512_castps_si512(self.0);
                let offset = _mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF as i32));
                let e = _mm512_srai_epi32::<23>(offset);
                let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(e));
                (Self(_mm512_castsi512_ps(m)), Self(_mm512_cvtepi32_ps(e)))
            })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..16];
            with_isa!(_mm512_storeu_ps(to.as_mut_ptr(), self.0));
        }

        #[inline(always)]
        fn store_part(self, to: &mut [f32]) {
            with_isa!(_mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), self.0));
        }
    }

    /// The two halves of a vector in float64.
    #[inline(always)]
    fn halves_512(v: F512) -> (__m512d, __m512d) {
        with_isa!({
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v.0)));
            (_mm512_cvtps_pd(_mm512_castps512_ps256(v.0)), _mm512_cvtps_pd(high))
        })
    }

    /// Sums of the lanes: of the first half, and of the second.
    #[derive(Clone, Copy)]
    pub struct W512(__m512d, __m512d);

    impl Wide<F512> for W512 {
        #[inline(always)]
        fn plus(self, v: F512) -> Self {
            let (low, high) = halves_512(v);
            with_isa!(Self(_mm512_add_pd(self.0, low), _mm512_add_pd(self.1, high)))
        }

        #[inline(always)]
        fn plus_square(self, v: F512) -> Self {
            let (low, high) = halves_512(v);
            with_isa!(Self(_mm512_fmadd_pd(low, low, self.0), _mm512_fmadd_pd(high, high, self.1)))
        }

        #[inline(always)]
        fn total(self) -> f64 {
            let mut lanes = [0.0; 16];
            with_isa!({
                _mm512_storeu_pd(lanes.as_mut_ptr(), self.0);
                _mm512_storeu_pd(lanes.as_mut_ptr().add(8), self.1);
            });
            lanes.iter().sum()
        }
    }

    /// `FIRST[8 - n..]` begins with n set lanes.
    static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    /// A mask of the first `count` of 8 lanes.
    #[inline(always)]
    fn first_256(count: usize) -> __m256i {
        let mask = &FIRST[8 - count.min(8)..][..8];
        with_isa!(_mm256_loadu_si256(mask.as_ptr().cast()))
    }

    /// Places in a pair of vectors: the lane, and by its sign the vector.
    #[derive(Clone, Copy)]
    pub struct Pair {
        lane: __m256i,
        vector: __m256,
    }

    impl Simd for Avx2 {
        const LANES: usize = 8;
        const WINDOW: usize = 16;
        type V = F256;
        type Window = (__m256, __m256);
        type Places = Pair;

        #[inline(always)]
        fn splat(self, x: f32) -> F256 {
            F256(with_isa!(_mm256_set1_ps(x)))
        }

        #[inline(always)]
        fn zero(self) -> W256 {
            with_isa!(W256(_mm256_setzero_pd(), _mm256_setzero_pd()))
        }

        #[inline(always)]
        fn load(self, from: &[f32]) -> F256 {
            let from = &from[..8];
            F256(with_isa!(_mm256_loadu_ps(from.as_ptr())))
        }

        #[inline(always)]
        fn load_part(self, from: &[f32]) -> F256 {
            F256(with_isa!(_mm256_maskload_ps(from.as_ptr(), first_256(from.len()))))
        }

        #[inline(always)]
        fn prefetch(self, from: &[f32], at: usize) {
            if let Some(value) = from.get(at) {
                with_isa!(_mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(value).cast()));
            }
        }

        #[inline(always)]
        fn window(self, from: &[f32]) -> Self::Window {
            let from = &from[..16];
            with_isa!((_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))))
        }

        #[inline(always)]
        fn places(self, places: F256, shift: i32) -> Pair {
            with_isa!({
                let lane = _mm256_add_epi32(_mm256_cvtps_epi32(places.0), _mm256_set1_epi32(shift));
                Pair { lane, vector: _mm256_castsi256_ps(_mm256_slli_epi32::<28>(lane)) }
            })
        }

        #[inline(always)]
        fn pick(self, (low, high): Self::Window, Pair { lane, vector }: Pair) -> F256 {
            with_isa!({
                let low = _mm256_permutevar8x32_ps(low, lane);
                let high = _mm256_permutevar8x32_ps(high, lane);
                F256(_mm256_blendv_ps(low, high, vector))
            })
        }
    }

    impl Vector for F256 {
        type Wide = W256;

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            Self(with_isa!(_mm256_fmadd_ps(self.0, b.0, c.0)))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(with_isa!(_mm256_min_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(with_isa!(_mm256_max_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn round(self) -> Self {
            Self(with_isa!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
        }

        #[inline(always)]
        fn floor(self) -> Self {
            Self(with_isa!(_mm256_floor_ps(self.0)))
        }

        #[inline(always)]
        fn times_power_of_two(self, n: Self) -> Self {
            with_isa!({
                let n = _mm256_min_ps(n.0, _mm256_set1_ps(128.0));
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))))
            })
        }

        #[inline(always)]
        fn split(self) -> (Self, Self) {
            with_isa!({
                let bits = _mm256_castps_si256(self.0);
                let offset = _mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF as i32));
                let e = _mm256_srai_epi32::<23>(offset);
                let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e));
                (Self(_mm256_castsi256_ps(m)), Self(_mm256_cvtepi32_ps(e)))
            })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..8];
            with_isa!(_mm256_storeu_ps(to.as_mut_ptr(), self.0));
        }

        #[inline(always)]
        fn store_part(self, to: &mut [f32]) {
            with_isa!(_mm256_maskstore_ps(to.as_mut_ptr(), first_256(to.len()), self.0));
        }
    }

    /// The two halves of a vector in float64.
    #[inline(always)]
    fn halves_256(v: F256) -> (__m256d, __m256d) {
        with_isa!({
            let low = _mm256_castps256_ps128(v.0);
            (_mm256_cvtps_pd(low), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v.0)))
        })
    }

    /// Sums of the lanes: of the first half, and of the second.
    #[derive(Clone, Copy)]
    pub struct W256(__m256d, __m256d);

    impl Wide<F256> for W256 {
        #[inline(always)]
        fn plus(self, v: F256) -> Self {
            let (low, high) = halves_256(v);
            with_isa!(Self(_mm256_add_pd(self.0, low), _mm256_add_pd(self.1, high)))
        }

        #[inline(always)]
        fn plus_square(self, v: F256) -> Self {
            let (low, high) = halves_256(v);
            with_isa!(Self(_mm256_fmadd_pd(low, low, self.0), _mm256_fmadd_pd(high, high, self.1)))
        }

        #[inline(always)]
        fn total(self) -> f64 {
            let mut lanes = [0.0; 8];
            with_isa!({
                _mm256_storeu_pd(lanes.as_mut_ptr(), self.0);
                _mm256_storeu_pd(lanes.as_mut_ptr().add(4), self.1);
            });
            lanes.iter().sum()
        }
    }
}

/// Plain Rust, four values at a time: compilers turn it into what every CPU of a family has. Also the base that
/// NEON's rarer operations fall back on.
pub mod scalar {
    use std::ops::{Add, Mul, Sub};

    use super::{SQRT_HALF, Simd, Vector, Wide};

    /// Plain Rust needs nothing.
    #[derive(Clone, Copy)]
    pub struct Scalar;

    /// 4 values.
    #[derive(Clone, Copy)]
    pub struct Four([f32; 4]);

    impl Four {
        #[inline(always)]
        fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
            Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
        }
    }

    impl Add for Four {
        type Output = Self;
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            self.zip(other, |a, b| a + b)
        }
    }

    impl Sub for Four {
        type Output = Self;
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            self.zip(other, |a, b| a - b)
        }
    }

    impl Mul for Four {
        type Output = Self;
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            self.zip(other, |a, b| a * b)
        }
    }

    impl Simd for Scalar {
        const LANES: usize = 4;
        const WINDOW: usize = 12;
        type V = Four;
        type Window = [f32; 12];
        type Places = [usize; 4];

        #[inline(always)]
        fn splat(self, x: f32) -> Four {
            Four([x; 4])
        }

        #[inline(always)]
        fn zero(self) -> [f64; 4] {
            [0.0; 4]
        }

        #[inline(always)]
        fn load(self, from: &[f32]) -> Four {
            Four(std::array::from_fn(|i| from[i]))
        }

        #[inline(always)]
        fn load_part(self, from: &[f32]) -> Four {
            Four(std::array::from_fn(|i| from.get(i).copied().unwrap_or(0.0)))
        }

        #[inline(always)]
        fn prefetch(self, _: &[f32], _: usize) {}

        #[inline(always)]
        fn window(self, from: &[f32]) -> Self::Window {
            std::array::from_fn(|i| from[i])
        }

        #[inline(always)]
        fn places(self, places: Four, shift: i32) -> Self::Places {
            places.0.map(|p| (p as i32 + shift) as usize)
        }

        #[inline(always)]
        fn pick(self, window: Self::Window, places: Self::Places) -> Four {
            Four(places.map(|p| window[p]))
        }
    }

    /// 1.5 · 2²³: adding it leaves no bits below the point.
    const MAGIC: f32 = 12_582_912.0;

    impl Vector for Four {
        type Wide = [f64; 4];

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            self * b + c // not f32::mul_add, which is a slow call where the CPU has no such instruction
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            self.zip(other, |a, b| if a < b { a } else { b })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            self.zip(other, |a, b| if a > b { a } else { b })
        }

        #[inline(always)]
        fn round(self) -> Self {
            Self(self.0.map(|x| (x + MAGIC) - MAGIC))
        }

        #[inline(always)]
        fn floor(self) -> Self {
            self.zip(self.round(), |x, nearest| if nearest > x { nearest - 1.0 } else { nearest })
        }

        #[inline(always)]
        fn times_power_of_two(self, n: Self) -> Self {
            self.zip(n, |x, n| x * f32::from_bits(((n.min(128.0) as i32 + 127) << 23) as u32))
        }

        #[inline(always)]
        fn split(self) -> (Self, Self) {
            let e = self.0.map(|x| (x.to_bits().wrapping_sub(SQRT_HALF) as i32) >> 23);
            let m = |i: usize| f32::from_bits(self.0[i].to_bits().wrapping_sub((e[i] << 23) as u32));
            (Self(std::array::from_fn(m)), Self(e.map(|e| e as f32)))
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            to[..4].copy_from_slice(&self.0);
        }

        #[inline(always)]
        fn store_part(self, to: &mut [f32]) {
            let count = to.len().min(4);
            to[..count].copy_from_slice(&self.0[..count]);
        }
    }

    impl Wide<Four> for [f64; 4] {
        #[inline(always)]
        fn plus(self, v: Four) -> Self {
            std::array::from_fn(|i| self[i] + f64::from(v.0[i]))
        }

        #[inline(always)]
        fn plus_square(self, v: Four) -> Self {
            std::array::from_fn(|i| self[i] + f64::from(v.0[i]) * f64::from(v.0[i]))
        }

        #[inline(always)]
        fn total(self) -> f64 {
            self.iter().sum()
        }
    }
}

/// NEON.
#[cfg(target_arch = "aarch64")]
pub mod neon {
    use std::arch::aarch64::*;
    use std::ops::{Add, Mul, Sub};

    use super::{Kernel, SQRT_HALF, Simd, Vector, Wide};

    /// NEON is enabled here.
    #[derive(Clone, Copy)]
    pub struct Neon(());

    #[target_feature(enable = "neon")]
    pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Neon(()))
    }

    /// 4 values.
    #[derive(Clone, Copy)]
    pub struct F128(float32x4_t);

    operators!(F128, vaddq_f32, vsubq_f32, vmulq_f32);

    impl Simd for Neon {
        const LANES: usize = 4;
        const WINDOW: usize = 12;
        type V = F128;
        type Window = uint8x16x3_t;
        type Places = uint8x16_t;

        #[inline(always)]
        fn splat(self, x: f32) -> F128 {
            F128(with_isa!(vdupq_n_f32(x)))
        }

        #[inline(always)]
        fn zero(self) -> W128 {
            with_isa!(W128(vdupq_n_f64(0.0), vdupq_n_f64(0.0)))
        }

        #[inline(always)]
        fn load(self, from: &[f32]) -> F128 {
            let from = &from[..4];
            F128(with_isa!(vld1q_f32(from.as_ptr())))
        }

        #[inline(always)]
        fn load_part(self, from: &[f32]) -> F128 {
            let lanes: [f32; 4] = std::array::from_fn(|i| from.get(i).copied().unwrap_or(0.0));
            self.load(&lanes)
        }

        #[inline(always)]
        fn prefetch(self, _: &[f32], _: usize) {} // stable Rust has none for this architecture

        #[inline(always)]
        fn window(self, from: &[f32]) -> Self::Window {
            let from = &from[..12];
            let vector = |i: usize| with_isa!(vreinterpretq_u8_f32(vld1q_f32(from[4 * i..].as_ptr())));
            uint8x16x3_t(vector(0), vector(1), vector(2))
        }

        #[inline(always)]
        fn places(self, places: F128, shift: i32) -> Self::Places {
            with_isa!({
                let place = vaddq_s32(vcvtq_s32_f32(places.0), vdupq_n_s32(shift));
                // The four bytes of value p of the table are 4 p, 4 p + 1, 4 p + 2 and 4 p + 3.
                let bytes = vmulq_n_u32(vreinterpretq_u32_s32(place), 0x0404_0404);
                vreinterpretq_u8_u32(vaddq_u32(bytes, vdupq_n_u32(0x0302_0100)))
            })
        }

        #[inline(always)]
        fn pick(self, window: Self::Window, places: Self::Places) -> F128 {
            F128(with_isa!(vreinterpretq_f32_u8(vqtbl3q_u8(window, places))))
        }
    }

    impl Vector for F128 {
        type Wide = W128;

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            Self(with_isa!(vfmaq_f32(c.0, self.0, b.0)))
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(with_isa!(vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0)))
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(with_isa!(vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0)))
        }

        #[inline(always)]
        fn round(self) -> Self {
            Self(with_isa!(vrndnq_f32(self.0)))
        }

        #[inline(always)]
        fn floor(self) -> Self {
            Self(with_isa!(vrndmq_f32(self.0)))
        }

        #[inline(always)]
        fn times_power_of_two(self, n: Self) -> Self {
            with_isa!({
                let n = vcvtq_s32_f32(vminnmq_f32(n.0, vdupq_n_f32(128.0)));
                let biased = vaddq_s32(n, vdupq_n_s32(127));
                Self(vmulq_f32(self.0, vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))))
            })
        }

        #[inline(always)]
        fn split(self) -> (Self, Self) {
            with_isa!({
                let bits = vreinterpretq_s32_f32(self.0);
                let e = vshrq_n_s32::<23>(vsubq_s32(bits, vdupq_n_s32(SQRT_HALF as i32)));
                let m = vsubq_s32(bits, vshlq_n_s32::<23>(e));
                (Self(vreinterpretq_f32_s32(m)), Self(vcvtq_f32_s32(e)))
            })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..4];
            with_isa!(vst1q_f32(to.as_mut_ptr(), self.0));
        }

        #[inline(always)]
        fn store_part(self, to: &mut [f32]) {
            let mut lanes = [0.0; 4];
            self.store(&mut lanes);
            let count = to.len().min(4);
            to[..count].copy_from_slice(&lanes[..count]);
        }
    }

    /// The two halves of a vector in float64.
    #[inline(always)]
    fn halves(v: F128) -> (float64x2_t, float64x2_t) {
        with_isa!((vcvt_f64_f32(vget_low_f32(v.0)), vcvt_high_f64_f32(v.0)))
    }

    /// Sums of the lanes: of the first half, and of the second.
    #[derive(Clone, Copy)]
    pub struct W128(float64x2_t, float64x2_t);

    impl Wide<F128> for W128 {
        #[inline(always)]
        fn plus(self, v: F128) -> Self {
            let (low, high) = halves(v);
            with_isa!(Self(vaddq_f64(self.0, low), vaddq_f64(self.1, high)))
        }

        #[inline(always)]
        fn plus_square(self, v: F128) -> Self {
            let (low, high) = halves(v);
            with_isa!(Self(vfmaq_f64(self.0, low, low), vfmaq_f64(self.1, high, high)))
        }

        #[inline(always)]
        fn total(self) -> f64 {
            let mut lanes = [0.0; 4];
            with_isa!({
                vst1q_f64(lanes.as_mut_ptr(), self.0);
                vst1q_f64(lanes.as_mut_ptr().add(2), self.1);
            });
            lanes.iter().sum()
        }
    }
}
