//! A kernel, again and again, for counting instructions: `kernels logmel|views|wav CLIPS [avx2]`.
//!
//! Two runs with different numbers of clips differ by the work on a clip alone; start-up cancels out.

use std::env;
use std::hint::black_box;

use asd_dsp::augment::{Augment, Batch, Recipe};
use asd_dsp::logmel::{LogMel, Scratch, Spec};
use asd_dsp::mel::MelScale;
use asd_dsp::simd::Isa;
use asd_dsp::view::{Domain, Shape};
use asd_dsp::wav;

const SPEC: Spec = Spec {
    sample_rate: 16_000,
    n_fft: 1024,
    hop_length: 512,
    n_mels: 128,
    f_min: 0.0,
    f_max: 8000.0,
    mel_scale: MelScale::Slaney,
    eps: 1.192_092_9e-7,
};
const SHAPE: Shape = Shape { bands: 128, frames: 313 };
const SAMPLES: usize = 160_000;

fn main() {
    let mut words = env::args().skip(1);
    let kernel = words.next().expect("a kernel");
    let clips: usize = words.next().and_then(|n| n.parse().ok()).expect("a number of clips");
    let isa = Isa::choose(words.next().as_deref()).expect("an instruction set of this CPU");
    match kernel.as_str() {
        "logmel" => logmel(isa, clips),
        "views" => views(isa, clips),
        "wav" => decode(clips),
        other => panic!("no kernel {other}"),
    }
}

/// Repeatable noise.
fn noise() -> impl Iterator<Item = i16> {
    (0..).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 16) as u16 as i16)
}

fn logmel(isa: Isa, clips: usize) {
    let wave: Vec<f32> = noise().take(SAMPLES).map(|s| f32::from(s) / 32768.0).collect();
    let front = LogMel::with_isa(SPEC, isa).expect("the spec is legal");
    let mut out = vec![0.0; SHAPE.values()];
    let mut scratch = Scratch::default();
    for _ in 0..clips {
        front.compute(black_box(&wave), &mut scratch, &mut out).expect("the wave is finite");
    }
    black_box(out);
}

/// One clip at a time, each with the next draws.
fn views(isa: Isa, clips: usize) {
    let bank: Vec<f32> = noise().take(16 * SHAPE.values()).map(|s| f32::from(s) / 16384.0).collect();
    let domain = Domain::Normalised;
    let recipe = Recipe { alpha: 0.4, crop: true, bank_size: 2048, eps: 1.192_092_9e-7, domain, ramp: None };
    let augment = Augment::new(isa, SHAPE, recipe).expect("the recipe is legal");
    let (mut first, mut second) = (vec![0.0; SHAPE.values()], vec![0.0; SHAPE.values()]);
    for position in 0..clips as u64 {
        let batch = Batch { clips: &bank[..SHAPE.values()], bank: &bank, seed: 0, position };
        let out = [first.as_mut_slice(), second.as_mut_slice()];
        augment.two_views(black_box(&batch), out, true, 1, &mut || true).expect("the clips are finite");
    }
    black_box((first, second));
}

fn decode(clips: usize) {
    let data: Vec<u8> = noise().take(SAMPLES).flat_map(i16::to_le_bytes).collect();
    let size = data.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(SPEC.sample_rate.to_le_bytes());
    bytes.extend((2 * SPEC.sample_rate).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(data);
    for _ in 0..clips {
        black_box(wav::decode(black_box(&bytes), Vec::new()).expect("the file is whole"));
    }
}
