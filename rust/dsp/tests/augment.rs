//! Views against their definition, computed slowly in float64, on every instruction set; and their edges.

mod common;

use asd_dsp::augment::{Augment, Batch, Clip, Recipe, high_bands};
use asd_dsp::error::{Error, Result};
use asd_dsp::simd::Isa;
use asd_dsp::view::{Crop, Domain, Partner, Scale, Shape, Work};
use common::guard::Guarded;
use proptest::prelude::*;

const EPS: f64 = 1.192_092_9e-7;

fn recipe() -> Recipe {
    Recipe { alpha: 0.4, crop: true, bank_size: 2048, eps: EPS, domain: Domain::Normalised, ramp: None }
}

fn augment(isa: Isa, shape: Shape) -> Augment {
    Augment::new(isa, shape, recipe()).expect("the recipe is legal")
}

fn best() -> Isa {
    Isa::available()[0]
}

/// Noise from a linear congruential generator: sums of four uniform numbers, about normal.
fn noise(values: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..values).map(|_| 1.7 * (uniform() + uniform() + uniform() + uniform())).collect()
}

/// ⌊s⌋ and s − ⌊s⌋ of output `i`; s in float32, as the definition has it.
fn source(i: usize, inputs: usize, outputs: usize) -> (i64, f64) {
    let scale = if outputs > 1 { (inputs - 1) as f32 / (outputs - 1) as f32 } else { 0.0 };
    let s = i as f32 * scale;
    (s.floor() as i64, f64::from(s - s.floor()))
}

/// Keys' kernel, a = −0.75, piece by piece as it is published.
fn keys(x: f64) -> f64 {
    let (x, a) = (x.abs(), -0.75);
    match x {
        x if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
        x if x < 2.0 => a * x.powi(3) - 5.0 * a * x.powi(2) + 8.0 * a * x - 4.0 * a,
        _ => 0.0,
    }
}

/// The crop of the canvas that has `clip` (F, T) in its middle, resized to (F, T).
fn cropped(clip: &[f64], shape: Shape, crop: Crop) -> Vec<f64> {
    let Shape { bands, frames } = shape;
    let margin = ((3 * frames / 2 - frames) / 2) as i64;
    let canvas = |f: i64, t: i64| {
        let f = crop.top as i64 + f.clamp(0, crop.height as i64 - 1);
        let t = crop.left as i64 + t.clamp(0, crop.width as i64 - 1) - margin;
        if (0..frames as i64).contains(&t) { clip[f as usize * frames + t as usize] } else { 0.0 }
    };
    let value = |i: usize| {
        let (f, u) = source(i / frames, crop.height, bands);
        let (t, v) = source(i % frames, crop.width, frames);
        let row = |k: i64| (-1..=2).map(|l| keys(v - l as f64) * canvas(f + k, t + l)).sum::<f64>();
        (-1..=2).map(|k| keys(u - k as f64) * row(k)).sum()
    };
    (0..bands * frames).map(value).collect()
}

fn mixed(x: &[f32], z: &[f32], lambda: f32) -> Vec<f64> {
    let lambda = f64::from(lambda);
    let value = |(&x, &z): (&f32, &f32)| {
        ((1.0 - lambda) * f64::from(x).exp() + lambda * f64::from(z).exp() + f64::from(EPS as f32)).ln()
    };
    x.iter().zip(z).map(value).collect()
}

fn view(augment: &Augment, x: &[f32], mix: Option<(Partner<'_>, f32)>, crop: Crop) -> Vec<f32> {
    let mut energies = vec![0.0; x.len()];
    augment.energies(x, Scale::NONE, &mut energies, &[], || "x".to_owned()).expect("fits");
    let mut out = vec![f32::NAN; x.len()];
    let clip = Clip { logmel: x, energies: &energies };
    augment.view(clip, mix, crop, &[], &mut out, &mut Work::default()).expect("fits");
    out
}

fn worst(got: &[f32], expected: &[f64]) -> f64 {
    got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0.0, f64::max)
}

/// A shape and a crop of its canvas.
fn shape_and_crop() -> impl Strategy<Value = (Shape, Crop)> {
    let shape = prop_oneof![(1_usize..12, 1_usize..100), (120_usize..130, 305_usize..320)];
    (shape, any::<[prop::sample::Index; 4]>()).prop_map(|((bands, frames), [h, w, y, x])| {
        let shape = Shape { bands, frames };
        let (height, width) = (h.index(bands) + 1, w.index(shape.canvas_frames()) + 1);
        let (top, left) = (y.index(bands - height + 1), x.index(shape.canvas_frames() - width + 1));
        (shape, Crop { top, left, height, width })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_view_is_its_definition_on_every_instruction_set(
        (shape, crop) in shape_and_crop(),
        lambda in 0.0_f32..1.0,
        seed: u64,
    ) {
        let (x, z) = (noise(shape.values(), seed), noise(shape.values(), !seed));
        let plain: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let (expected, expected_mixed) =
            (cropped(&plain, shape, crop), cropped(&mixed(&x, &z, lambda), shape, crop));
        for isa in Isa::available() {
            let augment = augment(isa, shape);
            let got = view(&augment, &x, None, crop);
            prop_assert!(worst(&got, &expected) < 1e-5, "{} plain", isa.name());
            let got = view(&augment, &x, Some((Partner::LogMel(&z), lambda)), crop);
            prop_assert!(worst(&got, &expected_mixed) < 1e-5, "{} mixed", isa.name());
            let augment = Augment::new(isa, shape, Recipe { crop: false, ..recipe() }).expect("legal");
            prop_assert_eq!(view(&augment, &x, None, crop), x.clone(), "{} whole", isa.name());
            let got = view(&augment, &x, Some((Partner::LogMel(&z), lambda)), crop);
            prop_assert!(worst(&got, &mixed(&x, &z, lambda)) < 1e-5, "{} mixed whole", isa.name());
        }
    }

    /// Inputs and output end where the memory ends, or begin where it begins: a touch beyond would end the process.
    #[test]
    fn nothing_outside_the_slices_is_touched((shape, crop) in shape_and_crop(), at_end: bool, seed: u64) {
        let values = shape.values();
        let mut memory: [Guarded; 4] = std::array::from_fn(|_| Guarded::new(values, at_end));
        let [x, z, energies, out] = memory.each_mut().map(Guarded::values);
        x.copy_from_slice(&noise(values, seed));
        z.copy_from_slice(&noise(values, !seed));
        let mut results = Vec::new();
        for isa in Isa::available() {
            let augment = augment(isa, shape);
            augment.energies(x, Scale::NONE, energies, z, || "x".to_owned()).expect("fits");
            let clip = Clip { logmel: x, energies };
            let mix = Some((Partner::LogMel(z), 0.3));
            augment.view(clip, mix, crop, z, out, &mut Work::default()).expect("fits");
            results.push(out.to_vec());
            let uncropped = Augment::new(isa, shape, Recipe { crop: false, ..recipe() }).expect("legal");
            uncropped.view(clip, mix, crop, z, out, &mut Work::default()).expect("fits");
            augment.log_mixup_exp(x, z, &vec![0.3; shape.bands], out, 1, &mut || true).expect("fits");
            let batch = Batch { clips: x, bank: z, seed, position: 5 };
            augment.two_views(&batch, [out, energies], true, 1, &mut || true).expect("fits");
        }
        let first: Vec<f64> = results[0].iter().map(|&y| f64::from(y)).collect();
        for other in &results {
            prop_assert!(worst(other, &first) < 1e-5);
        }
    }

    #[test]
    fn partners_as_energies_give_the_same_bits((shape, crop) in shape_and_crop(), seed: u64) {
        let (x, z) = (noise(shape.values(), seed), noise(shape.values(), !seed));
        for domain in [Domain::Normalised, Domain::Raw { mean: -6.5, std: 3.25 }] {
            let ramp = Some((0..shape.bands).map(|f| f as f32 / shape.bands as f32).collect());
            let augment = Augment::new(best(), shape, Recipe { domain, ramp, ..recipe() }).expect("legal");
            let mut energies = vec![0.0; z.len()];
            augment.energies(&z, Scale::NONE, &mut energies, &[], || "z".to_owned()).expect("fits");
            let of = |partner| view(&augment, &x, Some((partner, 0.25)), crop);
            prop_assert_eq!(of(Partner::LogMel(&z)), of(Partner::Energies(&energies)));
        }
    }
}

const SMALL: Shape = Shape { bands: 9, frames: 37 };

fn two_views(clips: &[f32], bank: &[f32], threads: usize) -> Result<Vec<f32>> {
    let mut out = [vec![f32::NAN; clips.len()], vec![f32::NAN; clips.len()]];
    let [first, second] = &mut out;
    let batch = Batch { clips, bank, seed: 7, position: 3 };
    augment(best(), SMALL).two_views(&batch, [first, second], true, threads, &mut || true)?;
    Ok(out.concat())
}

#[test]
fn threads_change_nothing() {
    let (clips, bank) = (noise(70 * SMALL.values(), 1), noise(5 * SMALL.values(), 2));
    let one = two_views(&clips, &bank, 1).expect("fits");
    assert!(one.iter().all(|y| y.is_finite()));
    for threads in [2, 3, 16] {
        assert_eq!(two_views(&clips, &bank, threads).expect("fits"), one);
    }
}

#[test]
fn the_first_bad_clip_is_named() {
    let mut clips = noise(40 * SMALL.values(), 1);
    clips[31 * SMALL.values()] = f32::NAN;
    clips[12 * SMALL.values() + 7] = 100.0;
    for threads in [1, 4] {
        let error = two_views(&clips, &[], threads).expect_err("clip 12 overflows");
        let reason = "x: row 12 holds values so large that their exponential overflows";
        assert_eq!(error, Error::Argument(reason.to_owned()));
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused_by_name() {
    let clips = noise(2 * SMALL.values(), 1);
    let error = two_views(&clips[1..], &[], 1).expect_err("not a whole number of clips");
    assert!(error.to_string().starts_with("x: expected 1 x 333 values"), "{error}");
    let error = two_views(&clips, &clips[1..], 1).expect_err("not a whole number of clips");
    assert!(error.to_string().starts_with("bank: "), "{error}");
}

#[test]
fn a_call_that_is_asked_to_stop_stops() {
    let clips = vec![0.5; 20_000 * SMALL.values()]; // hundreds of milliseconds of plain Rust
    let mut out = [vec![0.0; clips.len()], vec![0.0; clips.len()]];
    let [first, second] = &mut out;
    let batch = Batch { clips: &clips, bank: &[], seed: 0, position: 0 };
    let scalar = *Isa::available().last().expect("plain Rust is always there");
    let slow = Augment::new(scalar, SMALL, recipe()).expect("legal");
    for threads in [1, 2] {
        let result = slow.two_views(&batch, [&mut *first, &mut *second], true, threads, &mut || false);
        assert_eq!(result, Err(Error::Interrupted));
    }
}

#[test]
fn crops_outside_the_canvas_are_refused_by_name() {
    let good = Crop { top: 0, left: 0, height: 9, width: 55 };
    assert_eq!(good.check(SMALL), Ok(()));
    for (crop, name) in [
        (Crop { height: 0, ..good }, "height"),
        (Crop { height: 10, ..good }, "height"),
        (Crop { width: 56, ..good }, "width"),
        (Crop { top: 1, ..good }, "top"),
        (Crop { left: 1, ..good }, "left"),
        (Crop { left: usize::MAX, ..good }, "left"),
    ] {
        let error = crop.check(SMALL).expect_err("outside");
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn redrawn_partners_begin_with_the_one_that_was_drawn() {
    let augment = augment(best(), SMALL);
    for position in 0..200 {
        let (back, _) = augment.draw(5, position, 1, 300).mix.expect("there is a history");
        let again: Vec<u32> = augment.partners(5, position, 1, 300).take(20).collect();
        assert_eq!(again[0], back);
        assert!(again.iter().any(|&b| b != back) && again.iter().all(|&b| b < 300));
    }
    assert_eq!(augment.partners(5, 0, 0, 0).next(), None);
}

#[test]
fn the_ramp_is_linear_in_hertz() {
    assert_eq!(
        high_bands(&[0.0, 2_000.0, 2_500.0, 3_000.0, 4_000.0, 8_000.0]),
        [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
    );
}

#[test]
fn buffers_serve_any_shape() {
    let mut work = Work::default();
    for (bands, frames) in [(128, 313), (3, 2), (128, 64), (1, 1), (40, 400)] {
        let shape = Shape { bands, frames };
        let x = noise(shape.values(), 3);
        let crop = Crop { top: 0, left: 0, height: bands, width: shape.canvas_frames() };
        let (mut out, mut fresh) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        let augment = augment(best(), shape);
        let clip = Clip { logmel: &x, energies: &x };
        augment.view(clip, None, crop, &[], &mut out, &mut work).expect("fits");
        augment.view(clip, None, crop, &[], &mut fresh, &mut Work::default()).expect("fits");
        assert_eq!(out, fresh);
    }
}
