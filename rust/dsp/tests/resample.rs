//! Resampling: the filter's pass and stop band, measured with tones, and the grid of the output.
#![allow(clippy::unwrap_used)]

mod common;

use std::f64::consts::TAU;

use asd_dsp::error::Error;
use asd_dsp::resample::{Resampler, resample};
use asd_dsp::simd::Isa;
use common::noise;
use proptest::prelude::*;

const RATES: [(u32, u32); 9] = [
    (44_100, 16_000),
    (48_000, 16_000),
    (32_000, 16_000),
    (22_050, 16_000),
    (96_000, 16_000),
    (44_099, 16_000),
    (8_000, 16_000),
    (11_025, 16_000),
    (16_000, 44_100),
];

/// A sine of amplitude 1 at `hz`, long enough that its middle half is out of reach of the edges.
fn tone(hz: f64, rate: u32, lower: u32) -> Vec<f32> {
    let length = 600 * rate / lower;
    (0..length).map(|n| (TAU * hz * f64::from(n) / f64::from(rate) + 0.3).sin() as f32).collect()
}

fn middle(wave: &[f32]) -> impl Iterator<Item = (usize, f64)> {
    let quarter = wave.len() / 4;
    wave[quarter..3 * quarter].iter().enumerate().map(move |(i, &sample)| (quarter + i, f64::from(sample)))
}

fn decibels(amplitude: f64) -> f64 {
    20.0 * amplitude.log10()
}

#[test]
fn tones_up_to_0_95_of_the_lower_nyquist_come_out_as_they_are() {
    for (rate_in, rate_out) in RATES {
        let nyquist = f64::from(rate_in.min(rate_out)) / 2.0;
        let filter = Resampler::new(rate_in, rate_out).unwrap();
        for share in [0.01, 0.25, 0.5, 0.75, 0.9, 0.95] {
            let hz = share * nyquist;
            let out = filter.apply(&tone(hz, rate_in, rate_in.min(rate_out)));
            // The difference to the tone itself holds everything: gain, delay, images and aliases.
            let ideal = |k: usize| (TAU * hz * k as f64 / f64::from(rate_out) + 0.3).sin();
            let error = middle(&out).map(|(k, sample)| (sample - ideal(k)).abs()).fold(0.0, f64::max);
            assert!(decibels(error) < -95.0, "{rate_in} -> {rate_out}, {hz} Hz: {} dB", decibels(error));
        }
    }
}

#[test]
fn tones_from_the_lower_nyquist_on_are_gone() {
    for (rate_in, rate_out) in RATES.into_iter().filter(|(rate_in, rate_out)| rate_in > rate_out) {
        let (nyquist, highest) = (f64::from(rate_out) / 2.0, f64::from(rate_in) / 2.0);
        let filter = Resampler::new(rate_in, rate_out).unwrap();
        let edge = [1.0, 1.003, 1.01, 1.03].map(|share| share * nyquist);
        let rest = [0.2, 0.5, 0.8, 0.999].map(|share| nyquist + share * (highest - nyquist));
        for hz in edge.into_iter().chain(rest) {
            let out = filter.apply(&tone(hz, rate_in, rate_out));
            let left = middle(&out).map(|(_, sample)| sample.abs()).fold(0.0, f64::max);
            assert!(decibels(left) < -95.0, "{rate_in} -> {rate_out}, {hz} Hz: {} dB", decibels(left));
        }
    }
}

#[test]
fn a_constant_stays_constant() {
    for (rate_in, rate_out) in RATES {
        let out =
            resample(&vec![0.5; 600 * rate_in as usize / rate_in.min(rate_out) as usize], rate_in, rate_out)
                .unwrap();
        assert!(middle(&out).all(|(_, sample)| (sample - 0.5).abs() < 1e-6), "{rate_in} -> {rate_out}");
    }
}

#[test]
fn an_impulse_stays_where_it_is() {
    // Both grids have a sample at 0.1 s.
    for (rate_in, rate_out) in RATES.into_iter().filter(|(rate_in, _)| rate_in % 10 == 0) {
        let mut wave = vec![0.0; rate_in as usize / 5];
        wave[rate_in as usize / 10] = 1.0;
        let out = resample(&wave, rate_in, rate_out).unwrap();
        let largest = (0..out.len()).max_by(|&a, &b| out[a].abs().total_cmp(&out[b].abs())).unwrap();
        assert_eq!(largest, rate_out as usize / 10, "{rate_in} -> {rate_out}");
        let symmetric = (1..500).all(|i| (out[largest - i] - out[largest + i]).abs() < 1e-6);
        assert!(symmetric, "{rate_in} -> {rate_out}");
    }
}

#[test]
fn the_signal_counts_as_silent_before_its_start_and_after_its_end() {
    let mut next = noise(3);
    for (rate_in, rate_out) in RATES {
        // A second is a whole number of samples of both.
        let (silence, shift) = (rate_in as usize, rate_out as usize);
        let wave: Vec<f32> = (0..1_234).map(|_| next() as i32 as f32 / 2_147_483_648.0).collect();
        let amid = [vec![0.0; silence], wave.clone(), vec![0.0; silence]].concat();
        let (out, amid) =
            (resample(&wave, rate_in, rate_out).unwrap(), resample(&amid, rate_in, rate_out).unwrap());
        let error = out.iter().zip(&amid[shift..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 2e-6, "{rate_in} -> {rate_out}: {error}");
    }
}

#[test]
fn what_comes_later_changes_no_bit_of_what_came_before() {
    let mut next = noise(1);
    let wave: Vec<f32> = (0..9_000).map(|_| next() as i32 as f32 / 2_147_483_648.0).collect();
    for (rate_in, rate_out) in RATES {
        let whole = resample(&wave, rate_in, rate_out).unwrap();
        let part = resample(&wave[..7_001], rate_in, rate_out).unwrap();
        // Up to one filter length before the cut.
        let safe = (part.len() as f64 * 0.5) as usize;
        assert_eq!(part[..safe], whole[..safe], "{rate_in} -> {rate_out}");
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut next = noise(2);
    let wave: Vec<f32> = (0..6_011).map(|_| next() as i32 as f32 / 2_147_483_648.0).collect();
    for (rate_in, rate_out) in RATES {
        let filter = Resampler::new(rate_in, rate_out).unwrap();
        let expected = filter.apply(&wave);
        for isa in Isa::available() {
            let out = filter.apply_on(isa, &wave);
            assert!(out == expected, "{rate_in} -> {rate_out} on {}", isa.name());
        }
    }
}

#[test]
fn equal_rates_and_empty_signals_pass() {
    assert_eq!(resample(&[1.0, -2.0], 44_100, 44_100).unwrap(), [1.0, -2.0]);
    assert_eq!(resample(&[], 44_100, 16_000).unwrap(), [0.0; 0]);
    assert_eq!(resample(&[0.0], 44_100, 16_000).unwrap(), [0.0]);
}

#[test]
fn rates_too_far_apart_are_refused() {
    for (rate_in, rate_out) in [(0, 16_000), (16_000, 0), (0, 0), (1, 16_000), (768_000, 100)] {
        let error = resample(&[0.0; 10], rate_in, rate_out).unwrap_err();
        assert!(matches!(error, Error::Argument(_)));
        let said = format!("cannot resample {rate_in} Hz to {rate_out} Hz: at most a factor of 256");
        assert_eq!(error.to_string(), said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_ratio_gives_as_many_samples_as_the_time_holds(
        rate_in in 4_000_u32..200_000,
        rate_out in 4_000_u32..50_000,
        length in 1_usize..400,
    ) {
        let out = resample(&vec![0.25; length], rate_in, rate_out).unwrap();
        let exact = (length as u64 * u64::from(rate_out)).div_ceil(u64::from(rate_in));
        prop_assert_eq!(out.len() as u64, exact);
        prop_assert!(out.iter().all(|sample| sample.abs() < 0.5));
    }
}
