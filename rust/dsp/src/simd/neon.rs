//! NEON: 4 lanes, what its registers hold.

use std::arch::aarch64::*;
use std::ops::{Add, Mul, Sub};

use super::{Kernel, MAX_LANES, SQRT_HALF, Simd, Vector};

/// Proof that the CPU has NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

/// Runs `kernel` compiled for NEON.
///
/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

vector!(F32x4, float32x4_t, vaddq_f32, vsubq_f32, vmulq_f32);

impl Simd for Neon {
    type V = F32x4;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        // SAFETY: the token proves NEON.
        F32x4(unsafe { vdupq_n_f32(x) })
    }

    #[inline(always)]
    unsafe fn quads(self, rows: &[*const f32; MAX_LANES], first: usize, at: usize) -> F32x4 {
        // SAFETY: the caller's promise covers the four floats at `at` of each row; the token proves NEON.
        F32x4(unsafe { vld1q_f32(rows[first].add(at)) })
    }

    #[inline(always)]
    unsafe fn quads_i16(self, rows: &[*const i16; MAX_LANES], first: usize, at: usize) -> F32x4 {
        // SAFETY: the caller's promise covers the four integers at `at` of each row; the token proves NEON.
        unsafe {
            let wide = vcvtq_f32_s32(vmovl_s16(vld1_s16(rows[first].add(at))));
            F32x4(vmulq_n_f32(wide, 1.0 / 32_768.0))
        }
    }
}

// SAFETY: one register of float32 values. Of every block below: a vector exists only where its token did, and that proves NEON.
unsafe impl Vector for F32x4 {
    #[inline(always)]
    fn like(self, x: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_f32(x) })
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vfmaq_f32(c.0, self.0, b.0) })
    }

    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vfmsq_f32(c.0, self.0, b.0) })
    }

    #[inline(always)]
    fn split_exponent(self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let bits = vreinterpretq_s32_f32(self.0);
            let e = vshrq_n_s32::<23>(vsubq_s32(bits, vdupq_n_s32(SQRT_HALF)));
            let m = vsubq_s32(bits, vshlq_n_s32::<23>(e));
            (Self(vcvtq_f32_s32(e)), Self(vreinterpretq_f32_s32(m)))
        }
    }

    #[inline(always)]
    fn shift_in(self, last: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vextq_f32::<1>(self.0, vdupq_n_f32(last)) })
    }

    #[inline(always)]
    fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: as above.
        unsafe {
            let ab = [vzip1q_f32(a.0, b.0), vzip2q_f32(a.0, b.0)].map(|x| vreinterpretq_f64_f32(x));
            let cd = [vzip1q_f32(c.0, d.0), vzip2q_f32(c.0, d.0)].map(|x| vreinterpretq_f64_f32(x));
            [
                Self(vreinterpretq_f32_f64(vzip1q_f64(ab[0], cd[0]))),
                Self(vreinterpretq_f32_f64(vzip2q_f64(ab[0], cd[0]))),
                Self(vreinterpretq_f32_f64(vzip1q_f64(ab[1], cd[1]))),
                Self(vreinterpretq_f32_f64(vzip2q_f64(ab[1], cd[1]))),
            ]
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        let mut lanes = [0.0; 4];
        // SAFETY: as above; there is room for four floats.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), self.0) };
        out.copy_from_slice(&lanes[..out.len()]);
    }
}
