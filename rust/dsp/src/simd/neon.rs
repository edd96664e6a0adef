//! NEON: 4 lanes, what its registers hold.

use std::arch::aarch64::*;
use std::mem::transmute;

use super::{INT16, Kernel, MAX_LANES, SQRT_HALF, Simd, Vector, Wide};

/// Proof that the CPU has NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

/// Runs `kernel` compiled for NEON.
#[target_feature(enable = "neon")]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

vector!(F32x4, float32x4_t, vaddq_f32, vsubq_f32, vmulq_f32);
wide!(F64x4, F32x4, float64x2_t, vaddq_f64, |a, b, c| vfmaq_f64(c, a, b));

impl Simd for Neon {
    const LANES: usize = 4;
    const WINDOW: usize = 12;
    type V = F32x4;
    type Window = uint8x16x3_t;
    /// The bytes of each lane's value.
    type Places = uint8x16_t;

    intrinsic! {
        fn splat(self, x: f32) -> F32x4 { F32x4(vdupq_n_f32(x)) }
        fn zero(self) -> F64x4 { F64x4([vdupq_n_f64(0.0); 2]) }

        fn load(self, from: &[f32]) -> F32x4 {
            let part = || std::array::from_fn(|i| from.get(i).copied().unwrap_or(0.0));
            F32x4(vld1q_f32(from.first_chunk::<4>().copied().unwrap_or_else(part).as_ptr()))
        }

        fn window(self, from: &[f32]) -> uint8x16x3_t {
            let from = &from[..12];
            let [a, b, c] = [0, 4, 8].map(|i| vreinterpretq_u8_f32(vld1q_f32(from[i..].as_ptr())));
            uint8x16x3_t(a, b, c)
        }

        fn places(self, places: F32x4, shift: i32) -> uint8x16_t {
            let place = vaddq_s32(vcvtq_s32_f32(places.0), vdupq_n_s32(shift));
            // The four bytes of value p of the window are 4 p, 4 p + 1, 4 p + 2 and 4 p + 3.
            let bytes = vmulq_n_u32(vreinterpretq_u32_s32(place), 0x0404_0404);
            vreinterpretq_u8_u32(vaddq_u32(bytes, vdupq_n_u32(0x0302_0100)))
        }

        fn pick(self, window: uint8x16x3_t, places: uint8x16_t) -> F32x4 {
            F32x4(vreinterpretq_f32_u8(vqtbl3q_u8(window, places)))
        }
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
            F32x4(vmulq_n_f32(wide, INT16))
        }
    }
}

// SAFETY: one register of float32 values.
unsafe impl Vector for F32x4 {
    type Wide = F64x4;

    intrinsic! {
        fn mul_add(self, b: Self, c: Self) -> Self { Self(vfmaq_f32(c.0, self.0, b.0)) }
        fn neg_mul_add(self, b: Self, c: Self) -> Self { Self(vfmsq_f32(c.0, self.0, b.0)) }
        fn min(self, other: Self) -> Self { Self(vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0)) }
        fn max(self, other: Self) -> Self { Self(vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0)) }
        fn round(self) -> Self { Self(vrndnq_f32(self.0)) }
        fn floor(self) -> Self { Self(vrndmq_f32(self.0)) }

        fn times_power_of_two(self, n: Self) -> Self {
            let n = vcvtq_s32_f32(vminnmq_f32(n.0, vdupq_n_f32(128.0)));
            let power = vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127)));
            Self(vmulq_f32(self.0, vreinterpretq_f32_s32(power)))
        }

        fn split(self) -> (Self, Self) {
            let bits = vreinterpretq_s32_f32(self.0);
            let e = vshrq_n_s32::<23>(vsubq_s32(bits, vdupq_n_s32(SQRT_HALF)));
            let m = vsubq_s32(bits, vshlq_n_s32::<23>(e));
            (Self(vreinterpretq_f32_s32(m)), Self(vcvtq_f32_s32(e)))
        }

        fn shift_in(self, last: f32) -> Self { Self(vextq_f32::<1>(self.0, vdupq_n_f32(last))) }

        fn transpose_fours([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let pairs = |x: Self, y: Self| {
                [vzip1q_f32(x.0, y.0), vzip2q_f32(x.0, y.0)].map(|pair| vreinterpretq_f64_f32(pair))
            };
            let ([ab0, ab1], [cd0, cd1]) = (pairs(a, b), pairs(c, d));
            [
                vzip1q_f64(ab0, cd0), vzip2q_f64(ab0, cd0),
                vzip1q_f64(ab1, cd1), vzip2q_f64(ab1, cd1),
            ].map(|x| Self(vreinterpretq_f32_f64(x)))
        }

        fn store(self, to: &mut [f32]) {
            match to.first_chunk_mut::<4>() {
                Some(to) => vst1q_f32(to.as_mut_ptr(), self.0),
                None => to.copy_from_slice(&transmute::<float32x4_t, [f32; 4]>(self.0)[..to.len()]),
            }
        }
    }
}

impl F32x4 {
    intrinsic! {
        fn halves(self) -> [float64x2_t; 2] {
            [vcvt_f64_f32(vget_low_f32(self.0)), vcvt_high_f64_f32(self.0)]
        }
    }
}
