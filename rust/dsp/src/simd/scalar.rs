//! Plain Rust, for every other CPU: 4 lanes, which compilers put into vectors of the baseline where there are any.

use std::array::from_fn;

use super::{INT16, MAX_LANES, SQRT_HALF, Simd, Vector, Wide};

/// Needs no proof.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

/// Four values.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Four([f32; 4]);

/// 1.5 · 2²³: adding it leaves no bits below the point.
const MAGIC: f32 = 12_582_912.0;

impl Four {
    inlined! {
        fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
            Self(from_fn(|i| f(self.0[i], other.0[i])))
        }
    }
}

macro_rules! lanewise {
    ($Trait:ident, $method:ident) => {
        impl std::ops::$Trait for Four {
            type Output = Self;
            inlined! { fn $method(self, other: Self) -> Self { self.zip(other, f32::$method) } }
        }
    };
}

lanewise!(Add, add);
lanewise!(Sub, sub);
lanewise!(Mul, mul);

impl Simd for Scalar {
    const LANES: usize = 4;
    const WINDOW: usize = 12;
    type V = Four;
    type Window = [f32; 12];
    type Places = [usize; 4];

    inlined! {
        fn splat(self, x: f32) -> Four { Four([x; 4]) }
        fn zero(self) -> [f64; 4] { [0.0; 4] }

        fn load(self, from: &[f32]) -> Four {
            let part = || from_fn(|i| from.get(i).copied().unwrap_or(0.0));
            Four(from.first_chunk().copied().unwrap_or_else(part))
        }

        fn window(self, from: &[f32]) -> [f32; 12] { from_fn(|i| from[i]) }

        fn places(self, places: Four, shift: i32) -> [usize; 4] {
            places.0.map(|p| (p as i32 + shift) as usize)
        }

        fn pick(self, window: [f32; 12], places: [usize; 4]) -> Four { Four(places.map(|p| window[p])) }
    }

    #[inline(always)]
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> Four {
        // SAFETY: the caller's promise covers the four floats at `at`.
        Four(unsafe { rows[first].add(at).cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> Four {
        // SAFETY: the caller's promise covers the four integers at `at`.
        let four = unsafe { rows[first].add(at).cast::<[i16; 4]>().read_unaligned() };
        Four(four.map(|x| f32::from(x) * INT16))
    }
}

// SAFETY: four float32 values.
unsafe impl Vector for Four {
    type Wide = [f64; 4];

    inlined! {
        // `f32::mul_add` is a slow call where the baseline has no fused multiply-add: rounded twice here.
        fn mul_add(self, b: Self, c: Self) -> Self { self * b + c }
        fn neg_mul_add(self, b: Self, c: Self) -> Self { c - self * b }
        fn min(self, other: Self) -> Self { self.zip(other, |a, b| if a < b { a } else { b }) }
        fn max(self, other: Self) -> Self { self.zip(other, |a, b| if a > b { a } else { b }) }
        fn round(self) -> Self { Self(self.0.map(|x| (x + MAGIC) - MAGIC)) }

        fn floor(self) -> Self {
            self.zip(self.round(), |x, nearest| if nearest > x { nearest - 1.0 } else { nearest })
        }

        fn times_power_of_two(self, n: Self) -> Self {
            self.zip(n, |x, n| x * f32::from_bits(((n.min(128.0) as i32 + 127) << 23) as u32))
        }

        fn split(self) -> (Self, Self) {
            let bits = self.0.map(|x| x.to_bits() as i32);
            let e = bits.map(|b| b.wrapping_sub(SQRT_HALF) >> 23);
            let m = |i: usize| f32::from_bits(bits[i].wrapping_sub(e[i] << 23) as u32);
            (Self(from_fn(m)), Self(e.map(|e| e as f32)))
        }

        fn shift_in(self, last: f32) -> Self {
            let [_, b, c, d] = self.0;
            Self([b, c, d, last])
        }

        fn transpose_fours(rows: [Self; 4]) -> [Self; 4] { from_fn(|i| Self(rows.map(|row| row.0[i]))) }

        fn store(self, to: &mut [f32]) {
            match to.first_chunk_mut() {
                Some(to) => *to = self.0,
                None => to.copy_from_slice(&self.0[..to.len()]),
            }
        }
    }
}

impl Wide<Four> for [f64; 4] {
    inlined! {
        fn plus(self, v: Four) -> Self { from_fn(|i| self[i] + f64::from(v.0[i])) }
        fn plus_square(self, v: Four) -> Self { from_fn(|i| self[i] + f64::from(v.0[i]) * f64::from(v.0[i])) }
        fn total(self) -> f64 { self.iter().sum() }
    }
}
