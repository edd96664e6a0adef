//! Decoding a clip of 10 s at 16 kHz, 16 bit, from memory, and resampling it from other rates.
//!
//! The FLAC file is written here, by linear prediction of order 8 with Rice-coded residuals, as encoders do.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;

use asd_dsp::resample::Resampler;
use asd_dsp::{flac, wav};
use common::subframe::{Coding, Form};
use common::{Bits, Flac, Wav};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RATE: u32 = 16_000;
const SAMPLES: usize = 160_000;

/// Samples of a frame, as of most encoders.
const BLOCK: usize = 4096;

/// Weights of the 8 samples before, the last first, in units of 2^-[`SHIFT`].
const WEIGHTS: [i32; 8] = [1800, -1100, 350, -120, 60, -30, 15, -5];
const SHIFT: u32 = 10;
const WEIGHT_BITS: u32 = 12;

fn decode(criterion: &mut Criterion) {
    let clip = clip();
    let shorts: Vec<i16> = clip.iter().map(|&s| s as i16).collect();
    let (wav_file, flac_file) = (Wav::pcm16(1, RATE, &shorts).bytes(), flac_file(&clip));
    let expected = wav::decode(&wav_file, Vec::new()).expect("the file is whole").samples;
    assert_eq!(flac::decode(&flac_file, Vec::new()).expect("the file is whole").samples, expected);

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.bench_function("wav", |b| b.iter(|| wav::decode(black_box(&wav_file), Vec::new())));
    group.bench_function("flac", |b| b.iter(|| flac::decode(black_box(&flac_file), Vec::new())));
    group.finish();
}

fn resample(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resample to 16 kHz");
    for rate in [44_100, 48_000] {
        let wave: Vec<f32> = (0..10 * rate).map(|i| (i as f32 * 0.05).sin()).collect();
        let resampler = Resampler::new(rate, RATE).expect("the rates are legal");
        group.throughput(Throughput::Elements(wave.len() as u64));
        group.bench_function(rate.to_string(), |b| b.iter(|| resampler.apply(black_box(&wave))));
    }
    group.finish();
}

/// Coloured noise: what the predictor cannot tell is about 9 bits of 16.
fn clip() -> Vec<i32> {
    let mut next = common::noise(0);
    let mut samples: Vec<i32> = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let surprise = (next() as i64 >> 55) as i32;
        let sample = if n < WEIGHTS.len() { surprise } else { predict(&samples) + surprise };
        samples.push(sample.clamp(-32_768, 32_767));
    }
    samples
}

fn predict(before: &[i32]) -> i32 {
    before.iter().rev().zip(WEIGHTS).map(|(sample, weight)| sample * weight).sum::<i32>() >> SHIFT
}

fn flac_file(clip: &[i32]) -> Vec<u8> {
    let planes = [clip.to_vec()];
    let file = Flac { block: BLOCK as u16, ..Flac::new(RATE, 16, &planes) };
    let frames = clip.chunks(BLOCK).enumerate();
    let frames =
        frames.flat_map(|(n, samples)| file.frame_of(n as u64, samples.len() as u16, &subframe(samples)));
    file.header(true).into_iter().chain(frames).collect()
}

/// Linear prediction, one partition of Rice codes.
fn subframe(samples: &[i32]) -> Vec<u8> {
    let weights = WEIGHTS.iter().map(|&weight| i64::from(weight)).collect();
    let samples: Vec<i64> = samples.iter().map(|&sample| i64::from(sample)).collect();
    let mut bits = Bits::default();
    Coding::of(Form::Linear { weights, precision: WEIGHT_BITS, shift: SHIFT }).put(&mut bits, &samples, 16);
    bits.bytes
}

criterion_group!(benches, decode, resample);
criterion_main!(benches);
