//! The log-mel kernel against its definition, computed slowly in float64.

use std::f64::consts::TAU;

use asd_dsp::error::Error;
use asd_dsp::logmel::{LogMel, Sample, Scratch, Spec};
use asd_dsp::mel::MelScale;
use proptest::prelude::*;

const SMALL: Spec = Spec {
    sample_rate: 16_000,
    n_fft: 256,
    hop_length: 128,
    n_mels: 20,
    f_min: 0.0,
    f_max: 8000.0,
    mel_scale: MelScale::Htk,
    eps: 1.192_092_9e-7,
};

/// Noise from a linear congruential generator, in [-1, 1).
fn noise(samples: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..samples).map(|_| draw()).collect()
}

fn front_end(spec: Spec) -> LogMel {
    LogMel::new(spec).expect("the spec is legal")
}

fn logmel<S: Sample>(front: &LogMel, wave: &[S]) -> Vec<f32> {
    let mut out = vec![f32::NAN; front.spec().n_mels * front.frames(wave.len()).expect("long enough")];
    front.compute(wave, &mut Scratch::default(), &mut out).expect("finite");
    out
}

/// Mel energies (T, F) of the definition: reflect, window, transform by the sum itself, square, filter.
fn definition(front: &LogMel, wave: &[f32]) -> Vec<Vec<f64>> {
    let Spec { n_fft, hop_length, .. } = *front.spec();
    let last = wave.len() as i64 - 1;
    let sample = |i: i64| f64::from(wave[(last - (last - i.abs()).abs()) as usize]);
    let bins = n_fft / 2 + 1;
    let dense = front.bank().dense();
    let frame = |t: usize| {
        let start = (t * hop_length) as i64 - n_fft as i64 / 2;
        let windowed: Vec<f64> = (0..n_fft)
            .map(|i| sample(start + i as i64) * (0.5 - 0.5 * (TAU * i as f64 / n_fft as f64).cos()))
            .collect();
        let power = |bin: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in windowed.iter().enumerate() {
                let angle = TAU * (bin * i % n_fft) as f64 / n_fft as f64;
                re += x * angle.cos();
                im -= x * angle.sin();
            }
            re * re + im * im
        };
        let power: Vec<f64> = (0..bins).map(power).collect();
        dense.chunks_exact(bins).map(|row| row.iter().zip(&power).map(|(w, p)| w * p).sum()).collect()
    };
    (0..=wave.len() / hop_length).map(frame).collect()
}

#[test]
fn specs_that_cannot_be_are_refused_by_name() {
    let wrong: [(Spec, &str); 9] = [
        (Spec { sample_rate: 0, ..SMALL }, "sample_rate"),
        (Spec { n_fft: 300, ..SMALL }, "n_fft"),
        (Spec { hop_length: 0, ..SMALL }, "hop_length"),
        (Spec { hop_length: 257, ..SMALL }, "hop_length"),
        (Spec { n_mels: 0, ..SMALL }, "n_mels"),
        (Spec { f_min: 8000.0, ..SMALL }, "f_min"),
        (Spec { f_max: 9000.0, ..SMALL }, "f_max"),
        (Spec { f_max: f64::NAN, ..SMALL }, "f_max"),
        (Spec { eps: 0.0, ..SMALL }, "eps"),
    ];
    for (spec, name) in wrong {
        let error = LogMel::new(spec).err().expect("refused");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn frames_need_more_than_half_a_window() {
    let front = front_end(SMALL);
    assert!(matches!(front.frames(128), Err(Error::Argument(_))));
    assert_eq!(front.frames(129), Ok(2));
    assert_eq!(front.frames(255), Ok(2));
    assert_eq!(front.frames(256), Ok(3));
}

#[test]
fn out_of_another_length_is_refused() {
    let front = front_end(SMALL);
    let result = front.compute(&noise(1000, 1), &mut Scratch::default(), &mut [0.0; 7]);
    assert!(matches!(result, Err(Error::Argument(_))));
}

#[test]
fn silence_is_the_logarithm_of_eps() {
    let out = logmel(&front_end(SMALL), &[0.0_f32; 1000]);
    let expected = (SMALL.eps as f32).ln();
    assert!(out.iter().all(|&x| (x - expected).abs() < 2e-6));
}

#[test]
fn int16_is_scaled_by_its_full_scale() {
    let front = front_end(SMALL);
    let int: Vec<i16> = noise(3000, 5).iter().map(|x| (x * 32_768.0) as i16).collect();
    let float: Vec<f32> = int.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    assert_eq!(logmel(&front, &int), logmel(&front, &float));
}

#[test]
fn one_scratch_serves_front_ends_of_any_size() {
    let fronts = [256, 4096, 1024, 256].map(|n_fft| front_end(Spec { n_fft, ..SMALL }));
    let wave = noise(10_000, 3);
    let mut scratch = Scratch::default();
    for front in &fronts {
        let mut out = vec![0.0; SMALL.n_mels * front.frames(wave.len()).expect("long enough")];
        front.compute(&wave, &mut scratch, &mut out).expect("finite");
        assert_eq!(out, logmel(front, &wave));
    }
}

#[test]
fn a_batch_is_its_rows_on_any_number_of_threads() {
    let front = front_end(SMALL);
    let (rows, samples) = (23, 2000);
    let waves = noise(rows * samples, 9);
    let alone: Vec<f32> = waves.chunks_exact(samples).flat_map(|wave| logmel(&front, wave)).collect();
    for threads in [1, 2, 16] {
        let mut out = vec![f32::NAN; alone.len()];
        front.batch(&waves, samples, &mut out, threads, &mut || true).expect("finite");
        assert_eq!(out, alone);
    }
}

#[test]
fn a_batch_names_the_first_row_that_is_not_finite() {
    let front = front_end(SMALL);
    let (rows, samples) = (40, 1000);
    let mut waves = noise(rows * samples, 2);
    for row in [11, 12, 39] {
        waves[row * samples + 17 * row] = f32::NAN;
    }
    let mut out = vec![0.0; rows * SMALL.n_mels * front.frames(samples).expect("long enough")];
    for threads in [1, 2, 16] {
        let result = front.batch(&waves, samples, &mut out, threads, &mut || true);
        assert_eq!(result, Err(Error::NonFinite { row: 11 }));
    }
}

#[test]
fn power_that_overflows_is_no_nan_in_the_input() {
    let front = front_end(SMALL);
    let wave: Vec<f32> = noise(1000, 2).iter().map(|x| x * 1e25).collect();
    let mut out = vec![0.0; SMALL.n_mels * front.frames(1000).expect("long enough")];
    let result = front.compute(&wave, &mut Scratch::default(), &mut out);
    assert!(matches!(result, Err(Error::Argument(reason)) if reason.contains("so large")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equals_its_definition(
        samples in 129_usize..3000,
        hop_length in prop::sample::select(vec![64_usize, 100, 128, 200, 256]),
        slaney: bool,
        seed: u64,
    ) {
        let mel_scale = if slaney { MelScale::Slaney } else { MelScale::Htk };
        let front = front_end(Spec { hop_length, mel_scale, ..SMALL });
        let wave = noise(samples, seed);
        let got = logmel(&front, &wave);
        let mel = definition(&front, &wave);
        for (t, mel) in mel.iter().enumerate() {
            let loudest = mel.iter().copied().fold(0.0, f64::max);
            for (f, &m) in mel.iter().enumerate() {
                let error = (f64::from(got[f * (got.len() / SMALL.n_mels) + t]) - (m + SMALL.eps).ln()).abs();
                prop_assert!(error <= 1e-4 + 3e-7 * (loudest / (m + SMALL.eps)).sqrt());
            }
        }
    }

    #[test]
    fn finds_a_value_that_is_not_finite_wherever_it_is(
        samples in 129_usize..3000,
        place in 0.0..1.0_f64,
        hop_length in 64_usize..=256,
        value in prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ) {
        let front = front_end(Spec { hop_length, f_min: 3000.0, ..SMALL });
        let mut wave = noise(samples, 1);
        wave[(place * samples as f64) as usize] = value;
        let mut out = vec![0.0; SMALL.n_mels * front.frames(samples).expect("long enough")];
        let result = front.compute(&wave, &mut Scratch::default(), &mut out);
        prop_assert_eq!(result, Err(Error::NonFinite { row: 0 }));
    }
}
