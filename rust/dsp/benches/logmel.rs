//! Log-mel of one clip of 10 s at 16 kHz on one thread, in cache, for every instruction set of this CPU.

use std::hint::black_box;

use asd_dsp::logmel::{LogMel, Sample, Scratch, Spec};
use asd_dsp::mel::MelScale;
use asd_dsp::simd::Isa;
use criterion::{Criterion, criterion_group, criterion_main};

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

fn clip<S: Sample>(criterion: &mut Criterion, dtype: &str, wave: &[S]) {
    let mut group = criterion.benchmark_group(format!("logmel {dtype}"));
    for isa in Isa::available() {
        let front = LogMel::with_isa(SPEC, isa).expect("the spec is legal");
        let mut out = vec![0.0; SPEC.n_mels * front.frames(wave.len()).expect("long enough")];
        let mut scratch = Scratch::default();
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| front.compute(black_box(wave), &mut scratch, &mut out));
        });
    }
    group.finish();
}

fn logmel(criterion: &mut Criterion) {
    let int: Vec<i16> =
        (0..160_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u16 as i16).collect();
    let float: Vec<f32> = int.iter().map(|&x| x.to_f32()).collect();
    clip(criterion, "float32", &float);
    clip(criterion, "int16", &int);
}

criterion_group!(benches, logmel);
criterion_main!(benches);
