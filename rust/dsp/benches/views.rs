//! Two views of a batch of 64 log-mels, 128 × 313, on one thread, for every instruction set of this CPU.

use std::hint::black_box;

use asd_dsp::augment::{Augment, Batch, Recipe};
use asd_dsp::simd::Isa;
use asd_dsp::view::{Domain, Shape};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SHAPE: Shape = Shape { bands: 128, frames: 313 };
const CLIPS: usize = 64;
const BANK: usize = 2048;

fn views(criterion: &mut Criterion) {
    let noise = |i: u32| f32::from((i.wrapping_mul(2_654_435_761) >> 16) as u16 as i16) / 16384.0;
    let log_mels = |count: usize| -> Vec<f32> { (0..(count * SHAPE.values()) as u32).map(noise).collect() };
    let (clips, bank) = (log_mels(CLIPS), log_mels(BANK));
    let (mut first, mut second) = (vec![0.0; clips.len()], vec![0.0; clips.len()]);

    let mut group = criterion.benchmark_group("two views");
    group.throughput(Throughput::Elements(CLIPS as u64));
    for isa in Isa::available() {
        let domain = Domain::Normalised;
        let recipe = Recipe {
            alpha: 0.4,
            crop: true,
            bank_size: BANK as u32,
            eps: 1.192_092_9e-7,
            domain,
            ramp: None,
        };
        let augment = Augment::new(isa, SHAPE, recipe).expect("the recipe is legal");
        let mut position = 0;
        group.bench_function(isa.name(), |bencher| {
            bencher.iter(|| {
                let batch = Batch { clips: &clips, bank: &bank, seed: 0, position };
                position += CLIPS as u64;
                let out = [first.as_mut_slice(), second.as_mut_slice()];
                augment.two_views(black_box(&batch), out, true, 1, &mut || true)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, views);
criterion_main!(benches);
