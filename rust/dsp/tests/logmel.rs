//! The log-mel kernel, for every instruction set of this CPU, against its definition in float64.

use std::f64::consts::TAU;

use asd_dsp::error::Error;
use asd_dsp::logmel::{LogMel, Sample, Scratch, Spec};
use asd_dsp::mel::MelScale;
use asd_dsp::simd::Isa;
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

/// One front end for each instruction set.
fn front_ends(spec: Spec) -> impl Iterator<Item = LogMel> {
    Isa::available().into_iter().map(move |isa| LogMel::with_isa(spec, isa).expect("the spec is legal"))
}

fn logmel<S: Sample>(front: &LogMel, wave: &[S]) -> Vec<f32> {
    let mut out = vec![f32::NAN; front.spec().n_mels * front.frames(wave.len()).expect("long enough")];
    front.compute(wave, &mut Scratch::default(), &mut out).expect("finite");
    out
}

/// Mel energies (T, F) of the definition: reflect, window, transform, square, filter.
fn definition(front: &LogMel, wave: &[f32]) -> Vec<Vec<f64>> {
    let Spec { n_fft, hop_length, .. } = *front.spec();
    let last = wave.len() as i64 - 1;
    let sample = |i: i64| f64::from(wave[(last - (last - i.abs()).abs()) as usize]);
    let bins = n_fft / 2 + 1;
    let dense = front.bank().dense();
    let frame = |t: usize| {
        let start = (t * hop_length) as i64 - n_fft as i64 / 2;
        let windowed = |i: usize| {
            let hann = 0.5 - 0.5 * (TAU * i as f64 / n_fft as f64).cos();
            (sample(start + i as i64) * hann, 0.0)
        };
        let spectrum = dft(&(0..n_fft).map(windowed).collect::<Vec<_>>());
        let power: Vec<f64> = spectrum[..bins].iter().map(|(re, im)| re * re + im * im).collect();
        dense.chunks_exact(bins).map(|row| row.iter().zip(&power).map(|(w, p)| w * p).sum()).collect()
    };
    (0..=wave.len() / hop_length).map(frame).collect()
}

/// The transform of a power of two of complex values: that of the even ones, and that of the odd ones turned.
fn dft(x: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if let [one] = x {
        return vec![*one];
    }
    let half = |first: usize| dft(&x.iter().skip(first).step_by(2).copied().collect::<Vec<_>>());
    let (even, odd) = (half(0), half(1));
    let output = |k: usize| {
        let (sin, cos) = (-TAU * k as f64 / x.len() as f64).sin_cos();
        let ((a, b), (c, d)) = (even[k % even.len()], odd[k % odd.len()]);
        (a + c * cos - d * sin, b + c * sin + d * cos)
    };
    (0..x.len()).map(output).collect()
}

/// METHOD's tolerance: 1e-4 + 3e-7 √(M / (mel + eps)), M the largest mel energy of the frame.
fn assert_within_tolerance(front: &LogMel, got: &[f32], mel: &[Vec<f64>]) {
    let Spec { n_mels, eps, .. } = *front.spec();
    assert_eq!(got.len(), n_mels * mel.len());
    for (t, mel) in mel.iter().enumerate() {
        let loudest = mel.iter().copied().fold(0.0, f64::max);
        for (f, &m) in mel.iter().enumerate() {
            let error = (f64::from(got[f * (got.len() / n_mels) + t]) - (m + eps).ln()).abs();
            let tolerance = 1e-4 + 3e-7 * (loudest / (m + eps)).sqrt();
            assert!(error <= tolerance, "{:?} frame {t} band {f}: {error:e}", front.isa());
        }
    }
}

#[test]
fn the_oracle_is_the_sum_itself() {
    let x: Vec<(f64, f64)> = noise(64, 1).chunks_exact(2).map(|c| (c[0].into(), c[1].into())).collect();
    for (k, (re, im)) in dft(&x).into_iter().enumerate() {
        let (mut sum_re, mut sum_im) = (0.0, 0.0);
        for (i, (a, b)) in x.iter().enumerate() {
            let (sin, cos) = (-TAU * (k * i) as f64 / x.len() as f64).sin_cos();
            sum_re += a * cos - b * sin;
            sum_im += a * sin + b * cos;
        }
        assert!((re - sum_re).abs() < 1e-12 && (im - sum_im).abs() < 1e-12);
    }
}

#[test]
fn every_size_hop_and_length_equals_the_definition() {
    for n_fft in [256, 512, 1024, 2048, 4096] {
        for hop_length in [n_fft / 2, n_fft / 4, n_fft, n_fft / 2 - 3, 101] {
            let spec = Spec { n_fft, hop_length, n_mels: 40, mel_scale: MelScale::Slaney, ..SMALL };
            // From the shortest that can be reflected to 40 frames, with ends on and off the hop.
            for samples in [
                n_fft / 2 + 1,
                n_fft / 2 + 2,
                n_fft,
                8 * hop_length,
                17 * hop_length + 5,
                39 * hop_length + 1,
            ] {
                let wave = noise(samples.max(n_fft / 2 + 1), samples as u64);
                let mut mel = None;
                for front in front_ends(spec) {
                    let mel = mel.get_or_insert_with(|| definition(&front, &wave));
                    assert_within_tolerance(&front, &logmel(&front, &wave), mel);
                }
            }
        }
    }
}

#[test]
fn every_number_of_frames_equals_the_definition() {
    for hop_length in [128, 100] {
        let spec = Spec { hop_length, ..SMALL };
        for frames in 2..=40 {
            let wave = noise((hop_length * (frames - 1)).max(129), frames as u64);
            for front in front_ends(spec) {
                assert_within_tolerance(&front, &logmel(&front, &wave), &definition(&front, &wave));
            }
        }
    }
}

#[test]
fn the_bits_of_a_frame_depend_neither_on_its_lane_nor_on_its_neighbours() {
    for hop_length in [512, 256, 300] {
        let spec = Spec { n_fft: 1024, hop_length, ..SMALL };
        let wave = noise(60 * hop_length, 4);
        for front in front_ends(spec) {
            let whole = logmel(&front, &wave);
            let frames = front.frames(wave.len()).expect("long enough");
            for skipped in 1..=17 {
                let part = logmel(&front, &wave[skipped * hop_length..50 * hop_length]);
                let count = part.len() / SMALL.n_mels;
                // Those that reach over the ends of the part are reflected there.
                let inside = 512_usize.div_ceil(hop_length)..count - 512_usize.div_ceil(hop_length) - 1;
                for f in 0..SMALL.n_mels {
                    for t in inside.clone() {
                        let (a, b) = (whole[f * frames + t + skipped], part[f * count + t]);
                        assert_eq!(a.to_bits(), b.to_bits(), "{:?} band {f} frame {t}", front.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_with_fused_multiply_add_give_the_same_bits() {
    let spec = Spec { n_fft: 1024, hop_length: 512, n_mels: 128, ..SMALL };
    let wave = noise(40_000, 6);
    let fused: Vec<Vec<f32>> = front_ends(spec)
        .filter(|front| front.isa().name() != "scalar")
        .map(|front| logmel(&front, &wave))
        .collect();
    assert!(fused.windows(2).all(|pair| pair[0] == pair[1]));
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
    let expected = (SMALL.eps as f32).ln();
    for front in front_ends(SMALL) {
        assert!(logmel(&front, &[0.0_f32; 1000]).iter().all(|&x| (x - expected).abs() < 2e-6));
    }
}

#[test]
fn int16_is_scaled_by_its_full_scale() {
    let int: Vec<i16> = noise(9000, 5).iter().map(|x| (x * 32_768.0) as i16).collect();
    let float: Vec<f32> = int.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    for (n_fft, hop_length) in [(256, 128), (256, 77), (1024, 512), (1024, 256), (4096, 2048)] {
        for front in front_ends(Spec { n_fft, hop_length, ..SMALL }) {
            assert_eq!(logmel(&front, &int), logmel(&front, &float));
        }
    }
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
    fn any_spec_equals_its_definition(
        n_fft in prop::sample::select(vec![256_usize, 512, 1024, 2048]),
        hop_share in 0.05..=1.0_f64,
        extra in 1_usize..3000,
        n_mels in 1_usize..140,
        band in prop::sample::select(vec![(0.0, 8000.0), (50.0, 7800.0), (2000.0, 4000.0)]),
        slaney: bool,
        loud in prop::sample::select(vec![1.0_f32, 1e-3]),
        seed: u64,
    ) {
        let mel_scale = if slaney { MelScale::Slaney } else { MelScale::Htk };
        let hop_length = (hop_share * n_fft as f64) as usize;
        let spec = Spec { n_fft, hop_length, n_mels, f_min: band.0, f_max: band.1, mel_scale, ..SMALL };
        let wave: Vec<f32> = noise(n_fft / 2 + extra, seed).iter().map(|x| x * loud).collect();
        let mel = definition(&front_end(spec), &wave);
        for front in front_ends(spec) {
            assert_within_tolerance(&front, &logmel(&front, &wave), &mel);
        }
    }

    #[test]
    fn finds_a_value_that_is_not_finite_wherever_it_is(
        samples in 129_usize..3000,
        place in 0.0..1.0_f64,
        hop_length in 64_usize..=256,
        value in prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ) {
        let mut wave = noise(samples, 1);
        wave[(place * samples as f64) as usize] = value;
        for front in front_ends(Spec { hop_length, f_min: 3000.0, ..SMALL }) {
            let mut out = vec![0.0; SMALL.n_mels * front.frames(samples).expect("long enough")];
            let result = front.compute(&wave, &mut Scratch::default(), &mut out);
            prop_assert_eq!(result, Err(Error::NonFinite { row: 0 }));
        }
    }
}
