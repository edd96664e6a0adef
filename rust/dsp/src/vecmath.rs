//! Exponential and logarithm of vectors, and the check that what goes into them is finite.
//!
//! Both are within 1.2 units in the last place of the exact value on every instruction set: [`exp`] from −87 to 88,
//! [`ln`] over all positive normal float32.

use crate::simd::{MAX_LANES, Simd, Vector};

/// The smallest exponent that [`exp`] knows: e⁻⁸⁷ = 1.6e-38 is the end of normal float32. Smaller ones give this.
pub const EXP_LEAST: f32 = -87.0;

/// The largest exponent that [`exp`] knows: e⁸⁸ = 1.7e38. [`Guard`] refuses larger ones.
pub const EXP_MOST: f32 = 88.0;

/// 1 / ln 2.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 to 9 bits: times a whole number of an exponent's size it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// ln 2 − [`LN_2_HIGH`].
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// (e^r − 1 − r) / r² for |r| ≤ ½ ln 2: minimax, lowest power first; within 3e-9 of e^r.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_717, 0.001_381_459_9];

/// (ln(1 + t) − t + t²/2) / t³ for 1 + t in [√½, √2): minimax, lowest power first; within 3.2e-8 of ln(1 + t).
const LN: [f32; 7] =
    [0.333_339_1, -0.250_013_38, 0.199_630_63, -0.165_775_84, 0.149_147_69, -0.142_674_92, 0.087_004_386];

/// e^x = 2ⁿ · e^r, r = x − n ln 2, |r| ≤ ½ ln 2.
#[inline(always)]
pub fn exp<I: Simd>(isa: I, x: I::V) -> I::V {
    let x = isa.splat(EXP_LEAST).max(x);
    let n = (x * isa.splat(LOG2_E)).round();
    let r = n.mul_add(isa.splat(-LN_2_HIGH), x);
    let r = n.mul_add(isa.splat(-LN_2_LOW), r);
    let one = isa.splat(1.0);
    polynomial(isa, EXP, r).mul_add(r, one).mul_add(r, one).times_power_of_two(n)
}

/// ln y for positive normal y = m · 2^e: e ln 2 + ln m.
#[inline(always)]
pub fn ln<I: Simd>(isa: I, y: I::V) -> I::V {
    let (m, e) = y.split();
    let t = m - isa.splat(1.0);
    let rest = polynomial(isa, LN, t).mul_add(t, isa.splat(-0.5));
    let ln_m = rest.mul_add(t * t, t);
    e.mul_add(isa.splat(std::f32::consts::LN_2), ln_m)
}

/// c₀ + c₁ x + c₂ x² + ... by Horner's rule.
#[inline(always)]
fn polynomial<I: Simd, const N: usize>(isa: I, coefficients: [f32; N], x: I::V) -> I::V {
    let mut sum = isa.splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = sum.mul_add(x, isa.splat(coefficients[i]));
    }
    sum
}

/// Watches values go by, and knows afterwards whether all were finite and none above [`EXP_MOST`].
#[derive(Clone, Copy)]
pub struct Guard<V> {
    /// Sum of 0 · x: NaN once an x is infinite or NaN.
    zero: V,
    largest: V,
}

impl<V: Vector> Guard<V> {
    /// Nothing seen yet.
    #[inline(always)]
    pub fn new<I: Simd<V = V>>(isa: I) -> Self {
        Self { zero: isa.splat(0.0), largest: isa.splat(0.0) }
    }

    /// Sees `x`.
    #[inline(always)]
    pub fn see<I: Simd<V = V>>(&mut self, isa: I, x: V) {
        self.zero = x.mul_add(isa.splat(0.0), self.zero);
        self.largest = x.max(self.largest);
    }

    /// What was seen fits [`exp`].
    #[inline(always)]
    pub fn all_fit(self) -> bool {
        let (mut zero, mut largest) = ([0.0; MAX_LANES], [0.0_f32; MAX_LANES]);
        self.zero.store(&mut zero);
        self.largest.store(&mut largest);
        zero.iter().all(|&z| z == 0.0) && largest.iter().all(|&x| x <= EXP_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Ln,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = bool;

        #[inline(always)]
        fn run<I: Simd>(self, isa: I) -> bool {
            let mut guard = Guard::new(isa);
            for part in self.1.chunks_mut(I::LANES) {
                let x = isa.load(part);
                guard.see(isa, x);
                let y = match self.0 {
                    Function::Exp => exp(isa, x),
                    Function::Ln => ln(isa, x),
                };
                y.store(part);
            }
            guard.all_fit()
        }
    }

    /// The largest error on each instruction set, in units in the last place of the exact value.
    fn worst(function: Function, x: &[f32], exact: fn(f64) -> f64) -> Vec<(&'static str, f64)> {
        let error = |(y, &x): (f32, &f32)| {
            let exact = exact(f64::from(x));
            let size = exact.abs() as f32;
            (f64::from(y) - exact).abs() / (f64::from(size.next_up()) - f64::from(size))
        };
        let of = |isa: Isa| {
            let mut y = x.to_vec();
            isa.run(Apply(function, &mut y));
            (isa.name(), y.into_iter().zip(x).map(error).fold(0.0, f64::max))
        };
        Isa::available().into_iter().map(of).collect()
    }

    #[test]
    fn exp_keeps_its_bound() {
        let x: Vec<f32> = (0..2_000_001).map(|i| -87.0 + 175.0 * (i as f32 / 2e6)).collect();
        for (isa, error) in worst(Function::Exp, &x, f64::exp) {
            assert!(error <= 1.2, "{isa}: {error} ulp");
        }
        let small: Vec<f32> = (0..100_000).map(|i| f32::from_bits(0x3000_0000 + i * 1_000) - 0.5).collect();
        for (isa, error) in worst(Function::Exp, &small, f64::exp) {
            assert!(error <= 1.2, "{isa}: {error} ulp");
        }
    }

    #[test]
    fn ln_keeps_its_bound() {
        let bits = (f32::MIN_POSITIVE.to_bits()..=f32::MAX.to_bits()).step_by(997);
        let mut y: Vec<f32> = bits.map(f32::from_bits).collect();
        // Around 1, where the logarithm is small and cancellation would show.
        y.extend((0..200_000).map(|i| f32::from_bits(0x3f80_0000 - 100_000 + i)));
        y.retain(|&y| y != 1.0);
        for (isa, error) in worst(Function::Ln, &y, f64::ln) {
            assert!(error <= 1.2, "{isa}: {error} ulp");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        for isa in Isa::available() {
            let mut y = [1.0; 5];
            isa.run(Apply(Function::Ln, &mut y));
            assert_eq!(y, [0.0; 5], "{}", isa.name());
            let mut e = [0.0, -0.0, -1e30, f32::MIN, -87.0];
            isa.run(Apply(Function::Exp, &mut e));
            assert_eq!(e[..2], [1.0; 2], "{}", isa.name());
            let least = e[4];
            assert!(e[2..].iter().all(|&e| e == least && e.is_normal()), "{}: {e:?}", isa.name());
        }
    }

    #[test]
    fn the_guard_sees_every_lane() {
        for isa in Isa::available() {
            let fits = |x: f32, at: usize| {
                let mut values = [0.5; 37];
                values[at] = x;
                isa.run(Apply(Function::Exp, &mut values))
            };
            for at in 0..37 {
                assert!(fits(EXP_MOST, at) && fits(f32::MIN, at) && fits(-0.0, at), "{}", isa.name());
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 88.001] {
                    assert!(!fits(bad, at), "{}: {bad} at {at}", isa.name());
                }
            }
        }
    }
}
