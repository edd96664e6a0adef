//! The mel filters: known points of both scales, norms, and what every bank has in common.

use asd_dsp::mel::{FilterBank, MelScale};
use proptest::prelude::*;

const RATE: u32 = 16_000;
const N_FFT: usize = 1024;

fn bank(scale: MelScale) -> FilterBank {
    FilterBank::new(scale, RATE, N_FFT, 128, 0.0, 8000.0)
}

#[test]
fn names_are_read() {
    assert_eq!(MelScale::parse("slaney"), Ok(MelScale::Slaney));
    assert_eq!(MelScale::parse("htk"), Ok(MelScale::Htk));
    let message = MelScale::parse("bark").expect_err("no such scale").to_string();
    assert_eq!(message, "mel_scale: expected \"slaney\" or \"htk\", got \"bark\"");
}

#[test]
fn slaney_centres_are_linear_below_1_khz_and_logarithmic_above() {
    let bank = bank(MelScale::Slaney);
    let centres = bank.centres();
    // 8 kHz lies at 15 + 27 ln 8 / ln 6.4 = 45.245640 mel; 129 steps lead there.
    let step = 45.245_640_471_924_965 / 129.0;
    assert!((centres[0] - step * 200.0 / 3.0).abs() < 1e-9);
    let above: Vec<f64> = centres.iter().copied().filter(|&hz| hz > 1000.0).collect();
    let ratio = (step * 6.4_f64.ln() / 27.0).exp();
    assert!(above.windows(2).all(|pair| (pair[1] / pair[0] - ratio).abs() < 1e-9));
}

#[test]
fn htk_centres_follow_the_formula() {
    let bank = bank(MelScale::Htk);
    let step = 2595.0 * (1.0 + 8000.0_f64 / 700.0).log10() / 129.0;
    for (i, &hz) in bank.centres().iter().enumerate() {
        let mel = 2595.0 * (1.0 + hz / 700.0).log10();
        assert!((mel - step * (i + 1) as f64).abs() < 1e-9);
    }
}

#[test]
fn slaney_triangles_have_area_1_and_htk_triangles_height_1() {
    let bin_hz = f64::from(RATE) / N_FFT as f64;
    // Wide triangles only: the sum over bins stands for the area.
    for row in &bank(MelScale::Slaney).rows()[110..] {
        assert!((row.weights.iter().sum::<f64>() * bin_hz - 1.0).abs() < 0.02);
    }
    for row in &bank(MelScale::Htk).rows()[110..] {
        let peak = row.weights.iter().copied().fold(0.0, f64::max);
        assert!(peak > 0.85 && peak <= 1.0);
    }
}

#[test]
fn a_default_bank_is_sparse() {
    let count: usize = bank(MelScale::Slaney).rows().iter().map(|row| row.weights.len()).sum();
    assert_eq!(count, 1009); // of 128 x 513, as librosa has them
}

proptest! {
    #[test]
    fn rows_are_the_positive_weights_of_the_dense_matrix(
        slaney: bool,
        n_fft in prop::sample::select(vec![256_usize, 1024, 4096]),
        n_mels in 1_usize..300,
        f_min in 0.0..4000.0_f64,
        width in 1.0..4000.0_f64,
    ) {
        let scale = if slaney { MelScale::Slaney } else { MelScale::Htk };
        let bank = FilterBank::new(scale, RATE, n_fft, n_mels, f_min, f_min + width);
        let bins = n_fft / 2 + 1;
        let dense = bank.dense();
        prop_assert_eq!(dense.len(), n_mels * bins);
        prop_assert_eq!(bank.rows().len(), n_mels);
        prop_assert!(bank.centres().is_sorted());
        prop_assert!(bank.centres().iter().all(|&hz| hz > f_min && hz < f_min + width));
        for (row, dense) in bank.rows().iter().zip(dense.chunks_exact(bins)) {
            prop_assert!(row.weights.iter().all(|&w| w > 0.0));
            let inside = row.first..row.first + row.weights.len();
            for (bin, &weight) in dense.iter().enumerate() {
                prop_assert_eq!(weight > 0.0, inside.contains(&bin));
            }
        }
    }
}
