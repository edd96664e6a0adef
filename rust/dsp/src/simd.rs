//! Vectors of float32, one lane a frame, and the choice of instruction set at run time.
//!
//! A kernel is written once, generic over [`Simd`], and [`Isa::run`] compiles it for every instruction set: each
//! of its functions is `#[inline(always)]`, so that all of it lands inside one function that has the set enabled.
//!
//! Why this is sound: a token ([`Avx512`], ...) is made only where its [`Isa`] was detected, every vector comes out
//! of a token or another vector, and so wherever a vector can be touched the CPU has its instructions.

use std::ops::{Add, Mul, Sub};

use crate::error::{Error, Result};

/// A vector type and its arithmetic; the rest of [`Vector`] differs between instruction sets.
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
        impl $Trait for $V {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: a vector exists only where the CPU has its instructions.
                Self(unsafe { $intrinsic(self.0, other.0) })
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

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

/// Its name, to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
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

    pub(crate) fn kind(self) -> Kind {
        self.0
    }

    /// Runs `kernel` compiled for this instruction set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: `available`, which alone makes an `Isa`, found AVX-512F, AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::run(kernel) },
            // SAFETY: `available` found AVX2 and FMA.
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
    /// A vector of [`Simd::LANES`] float32 values.
    type V: Vector;
    /// Values of a vector, a multiple of 4.
    const LANES: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;

    /// Four samples of every fourth row: `rows[4 j + first][at + i]` in lane 4 j + i, i = 0 .. 4.
    ///
    /// # Safety
    /// `at .. at + 4` lies within what each of the first `LANES` rows points to.
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> Self::V;

    /// The same from int16, times 1 / 32768.
    ///
    /// # Safety
    /// As for [`Simd::quads`].
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> Self::V;

    /// Asks for the cache line of `value`, to be read soon; does nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch<T>(self, _value: &T) {}

    /// `lines` as vectors.
    #[inline(always)]
    fn view(self, lines: &mut [Line]) -> &mut [Self::V] {
        // SAFETY: lines and vectors are plain float32 values, any bits of which are legal, and `align_to_mut` stays
        // within `lines`; the token proves that such vectors may exist.
        let (before, vectors, after) = unsafe { lines.align_to_mut::<Self::V>() };
        debug_assert!(before.is_empty() && after.is_empty(), "a line is a whole number of aligned vectors");
        vectors
    }
}

/// A sample as stored; int16 is scaled by 1 / 32768.
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
        f32::from(self) * (1.0 / 32_768.0)
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

/// A cache line, at its start: memory for vectors of any instruction set.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Line([f32; MAX_LANES]);

impl AsMut<[f32]> for Line {
    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// Values that are computed on together.
///
/// # Safety
/// A vector is [`Simd::LANES`] float32 values and nothing else.
pub unsafe trait Vector: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// `x` in every lane.
    fn like(self, x: f32) -> Self;
    /// self · b + c, rounded once where the CPU can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// c − self · b, rounded once where the CPU can.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// For a positive normal x: e and m with x = 2^e · m and √½ <= m < √2.
    fn split_exponent(self) -> (Self, Self);
    /// The lanes moved down by one: lane 0 leaves, `last` becomes the last.
    fn shift_in(self, last: f32) -> Self;
    /// In each group of four lanes: row i of the 4 x 4 matrix in, column i out.
    fn transpose_fours(rows: [Self; 4]) -> [Self; 4];
    /// Writes the first `out.len()` lanes, `LANES` at most.
    fn store(self, out: &mut [f32]);
}

/// Bits of √½: what lies between two of its powers of two has one exponent.
const SQRT_HALF: i32 = 0x3f35_04f3;

/// Natural logarithm of positive normal values, within 1 ulp.
///
/// x = 2^e · m; ln m = f − f² / 2 + f³ · P(f), f = m − 1, with the minimax polynomial of Cephes' `logf`.
#[inline(always)]
pub fn ln<V: Vector>(x: V) -> V {
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    const LN2_HIGH: f32 = 0.693_359_4; // 9 bits: e times it is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let (e, m) = x.split_exponent();
    let f = m - x.like(1.0);
    let f2 = f * f;
    let mut p = x.like(P[0]);
    for &c in &P[1..] {
        p = p.mul_add(f, x.like(c));
    }
    let tail = e.mul_add(x.like(LN2_LOW), p * f * f2);
    e.mul_add(x.like(LN2_HIGH), f + f2.neg_mul_add(x.like(0.5), tail))
}
