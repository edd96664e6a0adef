//! The choice of instruction set, and the logarithm on each.

use asd_dsp::simd::{Isa, Kernel, Simd, Vector};
use asd_dsp::vecmath::ln;

#[test]
fn the_best_comes_first_and_plain_rust_last() {
    let available = Isa::available();
    assert_eq!(available.last().map(|isa| isa.name()), Some("scalar"));
    assert_eq!(Isa::choose(None), Ok(available[0]));
    assert_eq!(Isa::choose(Some("auto")), Ok(available[0]));
    for isa in available {
        assert_eq!(Isa::choose(Some(isa.name())), Ok(isa));
    }
}

#[test]
fn what_the_cpu_lacks_is_refused_with_the_choices() {
    for name in ["sse9", "", "AVX2", if cfg!(target_arch = "x86_64") { "neon" } else { "avx512" }] {
        let message = Isa::choose(Some(name)).expect_err("no such instructions").to_string();
        assert!(message.contains("auto") && message.contains("scalar"), "{message}");
        assert!(message.ends_with(&format!("got {name:?}")), "{message}");
    }
}

/// Logarithms of all values.
struct Ln<'a>(&'a mut [f32]);

impl Kernel for Ln<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) {
        for values in self.0.chunks_mut(I::LANES) {
            ln(isa, isa.load(values)).store(values);
        }
    }
}

#[test]
fn ln_is_within_its_bound_over_all_exponents() {
    let every = (f32::MIN_POSITIVE.to_bits()..f32::MAX.to_bits()).step_by(997);
    let near_one = (1.0_f32.to_bits() - 100_000..1.0_f32.to_bits() + 100_000).step_by(7);
    let x: Vec<f32> = every.chain(near_one).map(f32::from_bits).collect();
    for isa in Isa::available() {
        let mut got = x.clone();
        isa.run(Ln(&mut got));
        let mut worst = 0.0_f64;
        for (&x, &got) in x.iter().zip(&got) {
            let exact = f64::from(x).ln();
            let ulp = f64::from((exact as f32).abs().next_up()) - f64::from((exact as f32).abs());
            worst = worst.max((f64::from(got) - exact).abs() / ulp);
        }
        assert!(worst <= 1.0, "{isa:?}: {worst} ulp");
    }
}
