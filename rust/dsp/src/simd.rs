//! Vectors of float32, and the choice of instruction set at run time.
//!
//! A kernel is written once, generic over [`Simd`], and [`Isa::run`] compiles it for every instruction set: each
//! of its functions is `#[inline(always)]`, so that all of it lands inside one function that has the set enabled.
//!
//! Why this is sound: a token (`Avx512`, ...) is made only where its [`Isa`] was detected, every vector comes out of
//! a token or another vector, and so wherever a vector can be touched the CPU has its instructions. Memory is
//! reached through slices whose length is checked; only [`Simd::quads`] and [`Simd::quads_i16`] leave that to their
//! callers.

use std::f32::consts::FRAC_1_SQRT_2;
use std::ops::{Add, Mul, Sub};

use crate::error::{Error, Result};

/// Methods that land inside their caller, a line each where they fit.
macro_rules! inlined {
    ($(fn $name:ident$(<$T:ident>)?($($parameter:tt)*) $(-> $Output:ty)? { $($body:tt)* })*) => {$(
        #[inline(always)]
        fn $name$(<$T>)?($($parameter)*) $(-> $Output)? {
            $($body)*
        }
    )*};
}

/// Such methods of a token or a vector, made of intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! intrinsic {
    ($(fn $name:ident$(<$T:ident>)?($($parameter:tt)*) $(-> $Output:ty)? { $($body:tt)* })*) => {
        inlined! {$(
            fn $name$(<$T>)?($($parameter)*) $(-> $Output)? {
                // SAFETY: `self`, or a vector among the parameters, exists only where the CPU has the instructions;
                // what is read or written is an array, or as many values of a slice as it has.
                unsafe { $($body)* }
            }
        )*}
    };
}

/// A vector type and its arithmetic.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! vector {
    ($V:ident, $raw:ty, $add:ident, $sub:ident, $mul:ident) => {
        #[doc = concat!("Values of a `", stringify!($raw), "`.")]
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub struct $V($raw);

        vector!($V, Add, add, $add);
        vector!($V, Sub, sub, $sub);
        vector!($V, Mul, mul, $mul);
    };
    ($V:ident, $Trait:ident, $method:ident, $intrinsic:ident) => {
        impl std::ops::$Trait for $V {
            type Output = Self;
            intrinsic! { fn $method(self, other: Self) -> Self { Self($intrinsic(self.0, other.0)) } }
        }
    };
}

/// The sums of such a vector, which knows its `halves` in float64.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! wide {
    ($W:ident, $V:ident, $raw:ty, $add:ident, $mul_add:expr) => {
        #[doc = concat!("Sums of the lanes of a [`", stringify!($V), "`], in two halves.")]
        #[derive(Clone, Copy)]
        pub struct $W([$raw; 2]);

        impl Wide<$V> for $W {
            intrinsic! {
                fn plus(self, v: $V) -> Self {
                    let ([a, b], [low, high]) = (self.0, v.halves());
                    Self([$add(a, low), $add(b, high)])
                }

                fn plus_square(self, v: $V) -> Self {
                    let ([a, b], [low, high]) = (self.0, v.halves());
                    Self([$mul_add(low, low, a), $mul_add(high, high, b)])
                }

                fn total(self) -> f64 {
                    const LANES: usize = 2 * size_of::<$raw>() / size_of::<f64>();
                    std::mem::transmute::<[$raw; 2], [f64; LANES]>(self.0).iter().sum()
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The most lanes that any instruction set has.
pub const MAX_LANES: usize = 16;
/// The largest [`Simd::WINDOW`].
pub const MAX_WINDOW: usize = 32;

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

/// Its name, to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Scalar,
}

/// Work that runs on any instruction set; `run` must be `#[inline(always)]`, with all that it calls.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work on the instruction set of the token `isa`.
    fn run<I: Simd>(self, isa: I) -> Self::Output;
}

impl Isa {
    /// The instruction sets of this CPU, best first; the last is plain Rust, which every CPU runs.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_bits = is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("lzcnt");
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && has_bits;
            if has_avx2 && is_x86_feature_detected!("avx512f") {
                found.push(Self(Kind::Avx512));
            }
            if has_avx2 {
                found.push(Self(Kind::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self(Kind::Neon));
        }
        found.push(Self(Kind::Scalar));
        found
    }

    /// The best of this CPU for `None` or `auto`, else the one of that name.
    pub fn choose(name: Option<&str>) -> Result<Self> {
        let available = Self::available();
        match name {
            None | Some("auto") => Ok(available[0]),
            Some(name) => available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
                let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
                Error::Argument(format!(
                    "expected auto or one of this CPU's {}, got {name:?}",
                    names.join(", ")
                ))
            }),
        }
    }

    /// `avx512`, `avx2`, `neon` or `scalar`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            Kind::Scalar => "scalar",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: `available`, which alone makes an `Isa`, found AVX-512F and all that AVX2 comes with.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::run(kernel) },
            // SAFETY: `available` found AVX2, FMA, BMI2 and LZCNT.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::run(kernel) },
            // SAFETY: `available` found NEON.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::run(kernel) },
            Kind::Scalar => kernel.run(scalar::Scalar),
        }
    }
}

/// An instruction set that is enabled where this token is at hand.
pub trait Simd: Copy {
    /// Values of a vector: 4, 8 or 16.
    const LANES: usize;
    /// Values of a window: at least ⌈1.6 (LANES − 1)⌉ + 4, at most [`MAX_WINDOW`].
    const WINDOW: usize;
    /// A vector of [`Simd::LANES`] float32 values.
    type V: Vector;
    /// [`Simd::WINDOW`] values that lie side by side, to pick from.
    type Window: Copy;
    /// Which value of a window goes into each lane.
    type Places: Copy;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;

    /// Sums of nothing yet.
    fn zero(self) -> <Self::V as Vector>::Wide;

    /// The first `LANES` values of `from`; zeros where there are fewer.
    fn load(self, from: &[f32]) -> Self::V;

    /// The first `WINDOW` values of `from`. Panics if there are fewer.
    fn window(self, from: &[f32]) -> Self::Window;

    /// `places` (whole numbers, 0 ≤ places + shift < `WINDOW`) + `shift`.
    fn places(self, places: Self::V, shift: i32) -> Self::Places;

    /// The values of `window` at `places`.
    fn pick(self, window: Self::Window, places: Self::Places) -> Self::V;

    /// Four samples of every fourth row: `rows[4 j + first][at + i]` in lane 4 j + i, i = 0 .. 4.
    ///
    /// # Safety
    /// `at .. at + 4` lies within what each of the first `LANES` rows points to.
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> Self::V;

    /// The same from int16, times [`INT16`].
    ///
    /// # Safety
    /// As for [`Simd::quads`].
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> Self::V;

    /// Asks for the cache line of `value`, to be read or written soon; does nothing where there is no such
    /// instruction.
    #[inline(always)]
    fn prefetch<T>(self, _value: Option<&T>) {}

    /// `lines` as vectors.
    #[inline(always)]
    fn vectors(self, lines: &mut [Line]) -> &mut [Self::V] {
        // SAFETY: lines and vectors are plain float32 values, any bits of which are legal, and `align_to_mut` stays
        // within `lines`; the token proves that such vectors may exist.
        let (before, vectors, after) = unsafe { lines.align_to_mut::<Self::V>() };
        debug_assert!(before.is_empty() && after.is_empty(), "a line is a whole number of aligned vectors");
        vectors
    }
}

/// Values that are computed on together.
///
/// # Safety
/// A vector is [`Simd::LANES`] float32 values and nothing else.
pub unsafe trait Vector: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Sums of each lane in float64.
    type Wide: Wide<Self>;

    /// self · b + c, rounded once where the CPU can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// c − self · b, rounded once where the CPU can.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
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
    /// The lanes moved down by one: lane 0 leaves, `last` becomes the last.
    fn shift_in(self, last: f32) -> Self;
    /// In each group of four lanes: row i of the 4 x 4 matrix in, column i out.
    fn transpose_fours(rows: [Self; 4]) -> [Self; 4];
    /// Writes the first lanes, as many as `to` has values, `LANES` at most.
    fn store(self, to: &mut [f32]);
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

/// Bits of √½, where the mantissa of [`Vector::split`] begins: what lies between two of its powers of two has one
/// exponent.
const SQRT_HALF: i32 = FRAC_1_SQRT_2.to_bits() as i32;

/// A cache line, at its start: memory for vectors of any instruction set.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Line([f32; MAX_LANES]);

/// What one step of an int16 sample is worth.
pub const INT16: f32 = 1.0 / 32_768.0;

/// A sample as stored; int16 is scaled by [`INT16`].
pub trait Sample: Copy + Send + Sync {
    /// The sample in [-1, 1].
    fn to_f32(self) -> f32;

    /// [`Simd::quads`] or [`Simd::quads_i16`].
    ///
    /// # Safety
    /// As for those.
    unsafe fn quads<I: Simd>(isa: I, rows: &[*const Self; MAX_LANES], first: usize, at: usize) -> I::V;

    /// The buffer of this type.
    fn buffer(buffers: &mut Buffers) -> &mut Vec<Self>;
}

/// A buffer of samples, of either type.
#[derive(Default)]
pub struct Buffers {
    float: Vec<f32>,
    int: Vec<i16>,
}

impl Sample for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn quads<I: Simd>(isa: I, rows: &[*const Self; MAX_LANES], first: usize, at: usize) -> I::V {
        // SAFETY: the caller's promise is passed on.
        unsafe { isa.quads(rows, first, at) }
    }

    fn buffer(buffers: &mut Buffers) -> &mut Vec<f32> {
        &mut buffers.float
    }
}

impl Sample for i16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self) * INT16
    }

    #[inline(always)]
    unsafe fn quads<I: Simd>(isa: I, rows: &[*const Self; MAX_LANES], first: usize, at: usize) -> I::V {
        // SAFETY: the caller's promise is passed on.
        unsafe { isa.quads_i16(rows, first, at) }
    }

    fn buffer(buffers: &mut Buffers) -> &mut Vec<i16> {
        &mut buffers.int
    }
}
