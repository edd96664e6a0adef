//! Plain Rust, for every other CPU: 4 lanes, which compilers put into vectors of the baseline where there are any.

use std::ops::{Add, Mul, Sub};

use super::{MAX_LANES, SQRT_HALF, Simd, Vector};

/// Needs no proof.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

/// Four values.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Four([f32; 4]);

macro_rules! lanewise {
    ($Trait:ident, $method:ident, $op:tt) => {
        impl $Trait for Four {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                let (a, b) = (self.0, b.0);
                Self([a[0] $op b[0], a[1] $op b[1], a[2] $op b[2], a[3] $op b[3]])
            }
        }
    };
}

lanewise!(Add, add, +);
lanewise!(Sub, sub, -);
lanewise!(Mul, mul, *);

impl Simd for Scalar {
    type V = Four;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        Four([x; 4])
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
        Four(four.map(|x| f32::from(x) * (1.0 / 32_768.0)))
    }
}

// SAFETY: four float32 values.
unsafe impl Vector for Four {
    #[inline(always)]
    fn like(self, x: f32) -> Self {
        Self([x; 4])
    }

    // `f32::mul_add` is a slow call where the baseline has no fused multiply-add: rounded twice here.
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        self * b + c
    }

    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        c - self * b
    }

    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        let bits = self.0.map(|x| x.to_bits() as i32);
        let e = bits.map(|b| b.wrapping_sub(SQRT_HALF) >> 23);
        let m = |i: usize| f32::from_bits(bits[i].wrapping_sub(e[i] << 23) as u32);
        (Self(e.map(|e| e as f32)), Self([m(0), m(1), m(2), m(3)]))
    }

    #[inline(always)]
    fn shift_in(self, last: f32) -> Self {
        let [_, b, c, d] = self.0;
        Self([b, c, d, last])
    }

    #[inline(always)]
    fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        let column = |i: usize| Self([a.0[i], b.0[i], c.0[i], d.0[i]]);
        [column(0), column(1), column(2), column(3)]
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        out.copy_from_slice(&self.0[..out.len()]);
    }
}
