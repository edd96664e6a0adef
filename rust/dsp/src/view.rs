//! One clip -> one view, in one go over its rows: Log-mixup-exp, Random Resize Crop, and the sums for normalising.
//!
//! Only what the crop reads is mixed, and a mixed row lives in the cache just as long as the four taps of the
//! bicubic need it: rows are mixed into a ring of four, combined along frequency, and then along time, where the
//! outputs of one vector take their taps from one window of neighbouring inputs by permutation.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::simd::{Kernel, MAX_LANES, MAX_WINDOW, Simd, Vector, Wide};
use crate::vecmath::{Guard, exp, ln};

/// Size of a log-mel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// F.
    pub bands: usize,
    /// T.
    pub frames: usize,
}

impl Shape {
    /// Values of a log-mel, F · T.
    #[must_use]
    pub fn values(self) -> usize {
        self.bands * self.frames
    }

    /// Frames of the canvas that is cropped from, ⌊1.5 T⌋.
    #[must_use]
    pub fn canvas_frames(self) -> usize {
        self.frames + self.frames / 2
    }

    /// Frames of the canvas before the log-mel, which is centred in it.
    fn margin(self) -> usize {
        (self.canvas_frames() - self.frames) / 2
    }
}

/// A part of the canvas, F × ⌊1.5 T⌋.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First band.
    pub top: usize,
    /// First frame of the canvas.
    pub left: usize,
    /// Bands, 1 to F.
    pub height: usize,
    /// Frames, 1 to ⌊1.5 T⌋.
    pub width: usize,
}

impl Crop {
    /// Whether the crop lies within the canvas of `shape`.
    pub fn check(&self, shape: Shape) -> Result<()> {
        let (bands, frames) = (shape.bands, shape.canvas_frames());
        let within = |name: &str, value: usize, least: usize, most: usize| match value {
            v if (least..=most).contains(&v) => Ok(()),
            v => Err(Error::Argument(format!("{name}: expected {least} to {most}, got {v}"))),
        };
        within("height", self.height, 1, bands)?;
        within("width", self.width, 1, frames)?;
        within("top", self.top, 0, bands - self.height)?;
        within("left", self.left, 0, frames - self.width)
    }
}

/// What the values of a log-mel are when they are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Domain {
    /// As they come: eˣ of a normalised log-mel, the paper's formula.
    Normalised,
    /// True energies: e^(x · std + mean), and back.
    Raw {
        /// Mean that was subtracted.
        mean: f32,
        /// Deviation that was divided by.
        std: f32,
    },
}

/// How a clip is mixed with another.
#[derive(Debug, Clone, Copy)]
pub struct Mix<'a> {
    /// Energies of the clip, by [`Energies`].
    pub energies: &'a [f32],
    /// The other clip.
    pub partner: Partner<'a>,
    /// Weight λ of the other clip.
    pub lambda: f32,
    /// Factor of λ for every band; `None` is 1.
    pub ramp: Option<&'a [f32]>,
    /// What is mixed.
    pub domain: Domain,
    /// Added to the energies before the logarithm.
    pub eps: f32,
}

/// A clip to mix with, (F, T).
#[derive(Debug, Clone, Copy)]
pub enum Partner<'a> {
    /// Its log-mel.
    LogMel(&'a [f32]),
    /// Its energies, by [`Energies`]: gives the same bits, without the exponential.
    Energies(&'a [f32]),
}

/// Sum and sum of squares of a view.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Σ y.
    pub sum: f64,
    /// Σ y².
    pub squares: f64,
}

/// Buffers of [`View`]; they grow on first use and serve any shape.
#[derive(Default)]
pub struct Work {
    /// Four mixed rows; row r of the crop lies in r mod 4.
    ring: Vec<f32>,
    /// Rows of the crop, resized along frequency, not yet along time; with a border of repeated edges.
    rows: Vec<f32>,
    along_bands: Taps,
    along_frames: Taps,
}

/// Rows that go through the resize along time together, so that its taps are loaded once for all.
const GROUP: usize = 4;

/// Repeated edge before a row, and after it: the taps of an output at i lie at i − 1 ..= i + 2.
const BEFORE: usize = 1;
const AFTER: usize = 2;

/// Values of a cache line.
const LINE: usize = 16;

/// Computes `out` from `logmel`. `None` where the partner holds what [`exp`] cannot take.
pub struct View<'a> {
    /// Of `logmel`, of everything in `mix`, and of `out`.
    pub shape: Shape,
    /// The clip, (F, T).
    pub logmel: &'a [f32],
    /// `None` leaves it unmixed.
    pub mix: Option<Mix<'a>>,
    /// Checked by [`Crop::check`].
    pub crop: Crop,
    /// What is read next, (F, T), to be fetched meanwhile; or nothing.
    pub ahead: &'a [f32],
    /// The view, (F, T).
    pub out: &'a mut [f32],
    /// Buffers.
    pub work: &'a mut Work,
}

impl Kernel for View<'_> {
    type Output = Option<Moments>;

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) -> Option<Moments> {
        let Self { shape, crop, work, .. } = self;
        let Shape { bands, frames } = shape;
        // Which frames of the log-mel the crop shows, and where in the crop they begin.
        let margin = shape.margin();
        let first = crop.left.saturating_sub(margin).min(frames);
        let shown = (crop.left + crop.width).min(margin + frames).saturating_sub(margin + first);
        let first = if shown > 0 { first } else { 0 };
        let begin = BEFORE + if shown > 0 { margin + first - crop.left } else { 0 };

        let stride = BEFORE + crop.width + AFTER + MAX_WINDOW; // room for the window of the last outputs
        let Work { ring, rows, along_bands, along_frames } = work;
        along_bands.fill(isa, crop.height, bands);
        along_frames.fill(isa, crop.width, frames);
        ring.resize(4 * frames, 0.0);
        rows.clear();
        rows.resize(GROUP * stride, 0.0); // zeros where the crop shows the empty canvas

        // Not `&self.mix` below: compilers would look into an absent mix before asking whether it is there.
        let partner = Partner::Energies(&[]);
        let none =
            Mix { energies: &[], partner, lambda: 0.0, ramp: None, domain: Domain::Normalised, eps: 0.0 };
        let (is_mixed, mix) = (self.mix.is_some(), self.mix.unwrap_or(none));

        let mut guard = Guard::new(isa);
        let mut sums = Sums { sum: isa.zero(), squares: isa.zero() };
        let mut mixed = 0; // rows of the crop
        for (group, out) in self.out.chunks_mut(GROUP * frames).enumerate() {
            for line in (0..out.len()).step_by(LINE) {
                isa.prefetch(out.get(line)); // by the time it is written, it is here
            }
            for (row, i) in rows.chunks_exact_mut(stride).zip(group * GROUP..bands) {
                let (place, weights) = along_bands.get(i);
                while mixed < (place + AFTER + 1).min(crop.height) {
                    let band = crop.top + mixed;
                    let at = band * frames + first;
                    let to = &mut ring[mixed % 4 * frames..][..shown];
                    for line in (at..at + shown).step_by(LINE) {
                        isa.prefetch(self.ahead.get(line));
                    }
                    if is_mixed {
                        mix_row(isa, &mix, band, at..at + shown, to, &mut guard);
                    } else {
                        to.copy_from_slice(&self.logmel[at..at + shown]);
                    }
                    mixed += 1;
                }
                let tap = |k: usize| (place + k).saturating_sub(BEFORE).min(crop.height - 1) % 4 * frames;
                let taps: [&[f32]; 4] = std::array::from_fn(|k| &ring[tap(k)..][..shown]);
                combine(isa, taps, weights, &mut row[begin..][..shown]);
                row[0] = row[BEFORE];
                let last = row[BEFORE + crop.width - 1];
                row[BEFORE + crop.width..][..AFTER].fill(last);
            }
            if out.len() == GROUP * frames {
                along_time::<I, GROUP>(isa, rows, stride, along_frames, out, &mut sums);
            } else {
                for (row, out) in rows.chunks_exact(stride).zip(out.chunks_exact_mut(frames)) {
                    along_time::<I, 1>(isa, row, stride, along_frames, out, &mut sums);
                }
            }
        }
        let moments = Moments { sum: sums.sum.total(), squares: sums.squares.total() };
        guard.all_fit().then_some(moments)
    }
}

/// Computes `out` from all of `logmel`, which stays where it is; otherwise as [`View`].
pub struct Uncropped<'a> {
    /// Of `logmel`, of everything in `mix`, and of `out`.
    pub shape: Shape,
    /// The clip, (F, T).
    pub logmel: &'a [f32],
    /// `None` leaves it as it is.
    pub mix: Option<Mix<'a>>,
    /// What is read next, (F, T), to be fetched meanwhile; or nothing.
    pub ahead: &'a [f32],
    /// The view, (F, T).
    pub out: &'a mut [f32],
}

impl Kernel for Uncropped<'_> {
    type Output = Option<Moments>;

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) -> Option<Moments> {
        let frames = self.shape.frames;
        let mut guard = Guard::new(isa);
        let mut sums = Sums { sum: isa.zero(), squares: isa.zero() };
        for (band, out) in self.out.chunks_exact_mut(frames).enumerate() {
            let range = band * frames..(band + 1) * frames;
            for line in range.clone().step_by(LINE) {
                isa.prefetch(self.ahead.get(line));
            }
            match &self.mix {
                Some(mix) => mix_row(isa, mix, band, range, out, &mut guard),
                None => out.copy_from_slice(&self.logmel[range]),
            }
            for values in out.chunks(I::LANES) {
                let y = isa.load(values); // zeros past the end
                sums.sum = sums.sum.plus(y);
                sums.squares = sums.squares.plus_square(y);
            }
        }
        let moments = Moments { sum: sums.sum.total(), squares: sums.squares.total() };
        guard.all_fit().then_some(moments)
    }
}

/// Running sums of a view.
struct Sums<W> {
    sum: W,
    squares: W,
}

/// The values `range` of the clips of `mix`, which lie in band `band`, mixed.
#[inline(always)]
fn mix_row<I: Simd>(
    isa: I,
    mix: &Mix<'_>,
    band: usize,
    range: Range<usize>,
    to: &mut [f32],
    guard: &mut Guard<I::V>,
) {
    let x = &mix.energies[range.clone()];
    let blend = Blend::new(isa, mix, band);
    let raw = mix.domain != Domain::Normalised;
    match (mix.partner, raw) {
        (Partner::LogMel(z), false) => blend.row::<false, false, I>(isa, x, &z[range], to, guard),
        (Partner::LogMel(z), true) => blend.row::<false, true, I>(isa, x, &z[range], to, guard),
        (Partner::Energies(z), false) => blend.row::<true, false, I>(isa, x, &z[range], to, guard),
        (Partner::Energies(z), true) => blend.row::<true, true, I>(isa, x, &z[range], to, guard),
    }
}

/// The constants of one band's mixing.
struct Blend<V> {
    keep: V,
    lambda: V,
    eps: V,
    std: V,
    mean: V,
    inverse_std: V,
}

impl<V: Vector> Blend<V> {
    #[inline(always)]
    fn new<I: Simd<V = V>>(isa: I, mix: &Mix<'_>, band: usize) -> Self {
        let lambda = mix.lambda * mix.ramp.map_or(1.0, |ramp| ramp[band]);
        let (mean, std) = match mix.domain {
            Domain::Normalised => (0.0, 1.0),
            Domain::Raw { mean, std } => (mean, std),
        };
        Self {
            keep: isa.splat(1.0 - lambda),
            lambda: isa.splat(lambda),
            eps: isa.splat(mix.eps),
            std: isa.splat(std),
            mean: isa.splat(mean),
            inverse_std: isa.splat(1.0 / std),
        }
    }

    /// ln((1 − λ) eˣ + λ eᶻ + eps) for vectors of eˣ and of z, or of eᶻ where `LINEAR`.
    #[inline(always)]
    fn values<const LINEAR: bool, const RAW: bool, I: Simd<V = V>>(
        &self,
        isa: I,
        x: V,
        z: V,
        guard: &mut Guard<V>,
    ) -> V {
        let z = if LINEAR {
            z
        } else {
            let z = if RAW { z.mul_add(self.std, self.mean) } else { z };
            guard.see(isa, z);
            exp(isa, z)
        };
        let mixed = ln(isa, z.mul_add(self.lambda, x.mul_add(self.keep, self.eps)));
        if RAW { (mixed - self.mean) * self.inverse_std } else { mixed }
    }

    #[inline(always)]
    fn row<const LINEAR: bool, const RAW: bool, I: Simd<V = V>>(
        &self,
        isa: I,
        x: &[f32],
        z: &[f32],
        to: &mut [f32],
        guard: &mut Guard<V>,
    ) {
        let (xs, zs, mut tos) =
            (x.chunks_exact(I::LANES), z.chunks_exact(I::LANES), to.chunks_exact_mut(I::LANES));
        let (x_rest, z_rest) = (xs.remainder(), zs.remainder());
        for ((x, z), to) in xs.zip(zs).zip(&mut tos) {
            self.values::<LINEAR, RAW, I>(isa, isa.load(x), isa.load(z), guard).store(to);
        }
        let (x, z) = (isa.load(x_rest), isa.load(z_rest));
        self.values::<LINEAR, RAW, I>(isa, x, z, guard).store(tos.into_remainder());
    }
}

/// Σ weights[k] · taps[k], value by value.
#[inline(always)]
fn combine<I: Simd>(isa: I, taps: [&[f32]; 4], weights: [f32; 4], to: &mut [f32]) {
    if weights == [0.0, 1.0, 0.0, 0.0] {
        return to.copy_from_slice(taps[1]); // a crop as high as the canvas, which is the most common height
    }
    let weights = weights.map(|w| isa.splat(w));
    let sum = |taps: [I::V; 4]| {
        let outer = taps[3].mul_add(weights[3], taps[0] * weights[0]);
        taps[2].mul_add(weights[2], taps[1].mul_add(weights[1], outer))
    };
    let whole = to.len() - to.len() % I::LANES;
    for (i, to) in to[..whole].chunks_exact_mut(I::LANES).enumerate() {
        sum(taps.map(|t| isa.load(&t[i * I::LANES..][..I::LANES]))).store(to);
    }
    sum(taps.map(|t| isa.load(&t[whole..]))).store(&mut to[whole..]);
}

/// `ROWS` rows of the crop, `stride` apart, to `ROWS` rows of the view.
#[inline(always)]
fn along_time<I: Simd, const ROWS: usize>(
    isa: I,
    rows: &[f32],
    stride: usize,
    taps: &Taps,
    out: &mut [f32],
    sums: &mut Sums<<I::V as Vector>::Wide>,
) {
    let frames = out.len() / ROWS;
    for first in (0..frames).step_by(I::LANES) {
        let base = taps.place[first] as usize;
        let places = isa.load(&taps.place[first..][..I::LANES]) - isa.splat(base as f32);
        let places: [I::Places; 4] = std::array::from_fn(|k| isa.places(places, k as i32));
        let weights: [I::V; 4] = std::array::from_fn(|k| isa.load(&taps.weights[k][first..][..I::LANES]));
        let mut sum = isa.splat(0.0);
        for r in 0..ROWS {
            let window = isa.window(&rows[r * stride + base..]);
            let outer =
                isa.pick(window, places[3]).mul_add(weights[3], isa.pick(window, places[0]) * weights[0]);
            let inner = isa.pick(window, places[1]).mul_add(weights[1], outer);
            let y = isa.pick(window, places[2]).mul_add(weights[2], inner);
            y.store(&mut out[r * frames + first..(r + 1) * frames]);
            sum = sum + y;
            sums.squares = sums.squares.plus_square(y);
        }
        sums.sum = sums.sum.plus(sum);
    }
}

/// Where each output of a resize takes its four inputs, and their weights. Bicubic (a = −0.75), corners aligned:
/// output i lies at s = i (inputs − 1) / (outputs − 1), in float32 as in torch, and takes the inputs ⌊s⌋ − 1 to
/// ⌊s⌋ + 2 with Keys' weights of s − ⌊s⌋.
#[derive(Default)]
struct Taps {
    /// ⌊s⌋, a whole number; for as many outputs as fill whole vectors.
    place: Vec<f32>,
    /// Weights of the four inputs; 0 past the last output.
    weights: [Vec<f32>; 4],
}

impl Taps {
    #[inline(always)]
    fn fill<I: Simd>(&mut self, isa: I, inputs: usize, outputs: usize) {
        let padded = outputs.next_multiple_of(I::LANES);
        self.place.resize(padded, 0.0);
        self.weights.iter_mut().for_each(|w| w.resize(padded, 0.0));
        let scale = if outputs > 1 { (inputs - 1) as f32 / (outputs - 1) as f32 } else { 0.0 };
        let last = isa.splat((outputs - 1) as f32);
        for first in (0..padded).step_by(I::LANES) {
            let i = (isa.load(&COUNT) + isa.splat(first as f32)).min(last);
            let s = i * isa.splat(scale);
            let place = s.floor().min(isa.splat((inputs - 1) as f32));
            place.store(&mut self.place[first..]);
            for (w, weight) in self.weights.iter_mut().zip(keys(isa, s - place)) {
                weight.store(&mut w[first..]);
            }
        }
        self.weights.iter_mut().for_each(|w| w[outputs..].fill(0.0));
    }

    fn get(&self, i: usize) -> (usize, [f32; 4]) {
        (self.place[i] as usize, std::array::from_fn(|k| self.weights[k][i]))
    }
}

const COUNT: [f32; MAX_LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// Keys' cubic convolution at distances 1 + t, t, 1 − t and 2 − t, a = −0.75 (IEEE Trans. ASSP 29(6), 1981).
#[inline(always)]
fn keys<I: Simd>(isa: I, t: I::V) -> [I::V; 4] {
    const A: f32 = -0.75;
    let near = |x: I::V| {
        // (a + 2) x³ − (a + 3) x² + 1
        x.mul_add(isa.splat(A + 2.0), isa.splat(-A - 3.0)).mul_add(x * x, isa.splat(1.0))
    };
    let far = |x: I::V, rest: I::V| isa.splat(A) * x * (rest * rest); // a x (1 − x)²
    let rest = isa.splat(1.0) - t;
    [far(t, rest), near(t), near(rest), far(rest, t)]
}

/// (x − mean) · factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Subtracted.
    pub mean: f32,
    /// Multiplied by.
    pub factor: f32,
}

impl Scale {
    /// Leaves every value as it is.
    pub const NONE: Self = Self { mean: 0.0, factor: 1.0 };
}

/// Energies eˣ (or e^(x · std + mean)) of a log-mel, pre-normalised by `scale`. `false` where a value is not finite, or its energy overflows.
pub struct Energies<'a> {
    /// What energies are.
    pub domain: Domain,
    /// Log-mel.
    pub logmel: &'a [f32],
    /// What makes x of it.
    pub scale: Scale,
    /// As long as `logmel`.
    pub out: &'a mut [f32],
    /// What is read next, to be fetched meanwhile; or nothing.
    pub ahead: &'a [f32],
}

impl Kernel for Energies<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) -> bool {
        let (mean, std) = match self.domain {
            Domain::Normalised => (0.0, 1.0),
            Domain::Raw { mean, std } => (mean, std),
        };
        let (mean, std) = (isa.splat(mean), isa.splat(std));
        let (centre, factor) = (isa.splat(self.scale.mean), isa.splat(self.scale.factor));
        let exponent = |logmel: I::V| ((logmel - centre) * factor).mul_add(std, mean);
        let mut guard = Guard::new(isa);
        let mut to = self.out.chunks_exact_mut(I::LANES);
        let from = self.logmel.chunks_exact(I::LANES);
        let rest = from.remainder();
        for (i, (x, to)) in from.zip(&mut to).enumerate() {
            isa.prefetch(self.ahead.get(i * I::LANES));
            let x = exponent(isa.load(x));
            guard.see(isa, x);
            exp(isa, x).store(to);
        }
        let x = exponent(isa.load(rest));
        guard.see(isa, x);
        exp(isa, x).store(to.into_remainder());
        guard.all_fit()
    }
}

/// One band of a log-mel, mixed. `false` where a value is not finite, or its energy overflows.
pub struct MixBand<'a> {
    /// How; [`Mix::energies`] and [`Mix::partner`] are this band's alone.
    pub mix: Mix<'a>,
    /// As long as they are.
    pub out: &'a mut [f32],
}

impl Kernel for MixBand<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) -> bool {
        let mut guard = Guard::new(isa);
        let all = 0..self.out.len();
        mix_row(isa, &self.mix, 0, all, self.out, &mut guard);
        guard.all_fit()
    }
}

/// Applies a scale in place.
pub struct Normalise<'a> {
    /// Values.
    pub values: &'a mut [f32],
    /// What is done to them.
    pub scale: Scale,
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) {
        let (mean, factor) = (isa.splat(self.scale.mean), isa.splat(self.scale.factor));
        let mut whole = self.values.chunks_exact_mut(I::LANES);
        for values in &mut whole {
            ((isa.load(values) - mean) * factor).store(values);
        }
        let rest = whole.into_remainder();
        ((isa.load(rest) - mean) * factor).store(rest);
    }
}
