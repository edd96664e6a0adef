//! Two views of a clip: what is drawn for them, and how a batch of them is made.
//!
//! A view is Log-mixup-exp with an earlier clip of the stream, then Random Resize Crop (BYOL-A: Niizumi et al.,
//! "BYOL for Audio", 2023). What is drawn for row `position` of the stream is a function of the seed, the position
//! and the view alone, and each view is computed by one thread: the result depends on nothing else.

use crate::error::{Error, Result};
use crate::pool;
use crate::rng::{Purpose, Stream};
use crate::simd::Isa;
use crate::view::{
    Crop, Domain, Energies, Mix, MixBand, Moments, Normalise, Partner, Scale, Shape, Uncropped, View, Work,
};

/// Views of a clip.
pub const VIEWS: usize = 2;

/// Smallest and largest size of a crop, in sizes of the log-mel.
const CROP_SIZES: (f64, f64) = (0.6, 1.5);

/// Where `mix_band = high` begins to mix, and from where on it mixes in full, Hz.
const RAMP_HZ: (f64, f64) = (2_000.0, 4_000.0);

/// The smallest eps: far above e⁻⁸⁷, the least energy there is.
const LEAST_EPS: f64 = 1e-30;

/// How views are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The weight of the other clip is uniform in [0, alpha); 0 mixes nothing.
    pub alpha: f64,
    /// Whether views are cropped. What is drawn stays the same.
    pub crop: bool,
    /// The other clip is one of so many before.
    pub bank_size: u32,
    /// Added to the energies before the logarithm, and the least deviation that is divided by.
    pub eps: f64,
    /// What is mixed.
    pub domain: Domain,
    /// Factor of λ for every band; `None` mixes all bands alike.
    pub ramp: Option<Vec<f32>>,
}

/// The ramp of `mix_band = high`: linear in Hz at the band centres, 0 up to 2 kHz, 1 from 4 kHz on.
#[must_use]
pub fn high_bands(centres_hz: &[f64]) -> Vec<f32> {
    let (low, high) = RAMP_HZ;
    centres_hz.iter().map(|hz| ((hz - low) / (high - low)).clamp(0.0, 1.0) as f32).collect()
}

/// What is drawn for one view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The partner is the clip `back` before the one just before (0 is the clip just before), and its weight.
    /// `None` where no clip came before, or alpha is 0.
    pub mix: Option<(u32, f32)>,
    /// The part of the canvas.
    pub crop: Crop,
}

/// A maker of views of log-mels of one shape.
#[derive(Debug, Clone)]
pub struct Augment {
    isa: Isa,
    shape: Shape,
    recipe: Recipe,
}

/// Buffers of one thread; they grow on first use and serve any [`Augment`].
#[derive(Default)]
pub struct Scratch {
    energies: Vec<f32>,
    /// Of views.
    pub(crate) work: Work,
}

/// A clip that is about to be viewed. Both are (F, T).
#[derive(Debug, Clone, Copy)]
pub struct Clip<'a> {
    /// Its log-mel.
    pub logmel: &'a [f32],
    /// Its energies, by [`Augment::energies`].
    pub energies: &'a [f32],
}

/// A batch and the clips before it. All are (rows, F, T), row-major.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The clips to be viewed.
    pub clips: &'a [f32],
    /// Clips that came before, the last just before.
    pub bank: &'a [f32],
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Place of the first clip in the stream of draws.
    pub position: u64,
}

/// Where the views of clip `row` of a batch go.
struct Pair<'a> {
    row: usize,
    out: [&'a mut [f32]; VIEWS],
    moments: &'a mut [Moments; VIEWS],
}

impl<'a> Batch<'a> {
    /// Clip `from` of the history and the batch together, each of `values` values; nothing where there is none.
    fn clip(&self, from: usize, values: usize) -> &'a [f32] {
        let (banked, clips) = (self.bank.len() / values, self.clips.len() / values);
        match from.checked_sub(banked) {
            None => &self.bank[from * values..][..values],
            Some(row) if row < clips => &self.clips[row * values..][..values],
            Some(_) => &[],
        }
    }

    /// What an error calls it.
    fn name(&self, from: usize, values: usize) -> String {
        match from.checked_sub(self.bank.len() / values) {
            None => format!("bank: row {from}"),
            Some(row) => format!("x: row {row}"),
        }
    }
}

impl Augment {
    /// Checks shape and recipe.
    pub fn new(isa: Isa, shape: Shape, recipe: Recipe) -> Result<Self> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let wanted: [(bool, &str); 7] = [
            ((1..=4096).contains(&shape.bands), "x: expected 1 to 4096 bands"),
            ((1..=1 << 20).contains(&shape.frames), "x: expected 1 to 1048576 frames"),
            ((0.0..=1.0).contains(&recipe.alpha), "alpha: expected 0 to 1"),
            (recipe.bank_size > 0, "bank_size: expected 1 or more"),
            ((LEAST_EPS..=1.0).contains(&recipe.eps), "eps: expected 1e-30 to 1"),
            (
                match recipe.domain {
                    Domain::Normalised => true,
                    Domain::Raw { mean, std } => mean.is_finite() && positive(std) && positive(1.0 / std),
                },
                "mean, std: expected finite numbers, std above 0",
            ),
            (
                recipe.ramp.as_ref().is_none_or(|ramp| {
                    ramp.len() == shape.bands && ramp.iter().all(|w| (0.0..=1.0).contains(w))
                }),
                "ramp: expected a factor from 0 to 1 for every band",
            ),
        ];
        match wanted.iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::Argument((*message).to_owned())),
            None => Ok(Self { isa, shape, recipe }),
        }
    }

    /// How many clips before can be partners.
    #[must_use]
    pub fn bank_size(&self) -> u32 {
        self.recipe.bank_size
    }

    /// Size of the log-mels.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What is drawn for `view` of the clip at `position`, before which `history` clips came that can be partners.
    ///
    /// The partner is uniform among the last `bank_size` of them. A caller that must leave some out draws again
    /// with [`Augment::partners`].
    #[must_use]
    pub fn draw(&self, seed: u64, position: u64, view: u32, history: u64) -> Draw {
        let mut mix = Stream::new(seed, position, view, Purpose::Mix);
        let lambda = (self.recipe.alpha * mix.unit()) as f32;
        let among = history.min(u64::from(self.recipe.bank_size)) as u32;
        Draw {
            mix: (among > 0 && self.recipe.alpha > 0.0).then(|| (mix.below(among), lambda)),
            crop: self.crop(&mut Stream::new(seed, position, view, Purpose::Crop)),
        }
    }

    /// Partners of `view` of the clip at `position` as `back` of [`Draw::mix`], the one of [`Augment::draw`] first,
    /// without end: for redrawing while a partner will not do.
    pub fn partners(
        &self,
        seed: u64,
        position: u64,
        view: u32,
        history: u64,
    ) -> impl Iterator<Item = u32> + use<> {
        let mut mix = Stream::new(seed, position, view, Purpose::Mix);
        let _lambda = mix.unit();
        let among = history.min(u64::from(self.recipe.bank_size)) as u32;
        std::iter::from_fn(move || (among > 0).then(|| mix.below(among)))
    }

    /// h = clip(⌊u F⌋, 1, F) and w = clip(⌊u T⌋, 1, ⌊1.5 T⌋) for u uniform in [0.6, 1.5), anywhere in the canvas.
    fn crop(&self, stream: &mut Stream) -> Crop {
        let Shape { bands, frames } = self.shape;
        let canvas = self.shape.canvas_frames();
        let (least, most) = CROP_SIZES;
        let mut size =
            |of: usize, limit: usize| ((stream.between(least, most) * of as f64) as usize).clamp(1, limit);
        let (height, width) = (size(bands, bands), size(frames, canvas));
        let mut offset = |room: usize| stream.below(room as u32 + 1) as usize;
        Crop { top: offset(bands - height), left: offset(canvas - width), height, width }
    }

    /// Energies of a clip, pre-normalised by `scale`, to be mixed; an error that calls the clip `name` where a value does not fit. Meanwhile
    /// `ahead`, a log-mel that is read next, or nothing, is brought into the cache: it changes no result.
    pub fn energies(
        &self,
        logmel: &[f32],
        scale: Scale,
        out: &mut [f32],
        ahead: &[f32],
        name: impl FnOnce() -> String,
    ) -> Result<()> {
        assert_eq!((logmel.len(), out.len()), (self.shape.values(), self.shape.values()));
        let fit = self.isa.run(Energies { domain: self.recipe.domain, logmel, scale, out, ahead });
        if fit { Ok(()) } else { Err(unfit(logmel, &name())) }
    }

    /// One view of `clip` to `out`, (F, T), in the recipe's way; `partner` has its weight λ. `None` where the partner
    /// holds a value that does not fit: only what the view shows of it is read, and checked. `ahead` as for
    /// [`Augment::energies`].
    pub fn view(
        &self,
        clip: Clip<'_>,
        partner: Option<(Partner<'_>, f32)>,
        crop: Crop,
        ahead: &[f32],
        out: &mut [f32],
        work: &mut Work,
    ) -> Option<Moments> {
        self.mixed_and_cropped(clip, partner, self.recipe.crop.then_some(crop), ahead, out, work)
    }

    /// As [`Augment::view`], cropped where there is a crop, whatever the recipe says.
    fn mixed_and_cropped(
        &self,
        Clip { logmel, energies }: Clip<'_>,
        partner: Option<(Partner<'_>, f32)>,
        crop: Option<Crop>,
        ahead: &[f32],
        out: &mut [f32],
        work: &mut Work,
    ) -> Option<Moments> {
        let (shape, values) = (self.shape, self.shape.values());
        assert_eq!((logmel.len(), energies.len(), out.len()), (values, values, values));
        let mix = partner.map(|(partner, lambda)| Mix {
            energies,
            partner,
            lambda,
            ramp: self.recipe.ramp.as_deref(),
            domain: self.recipe.domain,
            eps: self.recipe.eps as f32,
        });
        let Some(crop) = crop else {
            return self.isa.run(Uncropped { shape, logmel, mix, ahead, out });
        };
        assert!(crop.check(shape).is_ok(), "crops are drawn within the canvas, or checked");
        self.isa.run(View { shape, logmel, mix, crop, ahead, out, work })
    }

    /// The two views of every clip of `batch`, (B, F, T) each, on `threads` threads; normalised together to mean 0
    /// and (unbiased) deviation 1 where `post_normalise`.
    ///
    /// Clip b is draw `position + b`; its history is the bank and the clips before it. The result does not depend
    /// on `threads`. `go_on` is asked about every 50 ms on the calling thread; its `false` ends the call with
    /// [`Error::Interrupted`]. After an error `out` is undefined.
    pub fn two_views(
        &self,
        batch: &Batch<'_>,
        out: [&mut [f32]; VIEWS],
        post_normalise: bool,
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let values = self.shape.values();
        let (clips, banked) = (batch.clips.len() / values, batch.bank.len() / values);
        let [first, second] = out;
        for (name, length, rows) in [
            ("x", batch.clips.len(), clips),
            ("bank", batch.bank.len(), banked),
            ("out", first.len(), clips),
            ("out", second.len(), clips),
        ] {
            if length != rows * values {
                return Err(Error::Argument(format!(
                    "{name}: expected {rows} x {values} values, got {length}"
                )));
            }
        }
        let mut moments = vec![[Moments::default(); VIEWS]; clips];
        let views = first.chunks_exact_mut(values).zip(second.chunks_exact_mut(values));
        let jobs = views.zip(&mut moments).enumerate().map(|(row, ((first, second), moments))| Pair {
            row,
            out: [first, second],
            moments,
        });
        let job =
            |pair: Pair<'_>, scratch: &mut pool::Scratch| self.views_of(batch, pair, &mut scratch.augment);
        pool::run_short(jobs, threads, job, go_on)?;
        if !post_normalise || clips == 0 {
            return Ok(());
        }
        self.post_normalise(&moments, [first, second], threads, go_on)
    }

    /// Brings all views, whose `moments` are known, together to mean 0 and (unbiased) deviation 1.
    pub(crate) fn post_normalise(
        &self,
        moments: &[[Moments; VIEWS]],
        [first, second]: [&mut [f32]; VIEWS],
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let values = self.shape.values();
        let scale = self.normalisation(moments);
        // Backwards: the views written last are the likeliest to be still in a cache.
        let views = second.chunks_exact_mut(values).rev().zip(first.chunks_exact_mut(values).rev());
        let job = |(first, second): (&mut [f32], &mut [f32]), _: &mut pool::Scratch| {
            for values in [first, second] {
                self.normalise(values, scale);
            }
            Ok(())
        };
        pool::run_short(views, threads, job, go_on)
    }

    /// Applies `scale` in place.
    pub(crate) fn normalise(&self, values: &mut [f32], scale: Scale) {
        self.isa.run(Normalise { values, scale });
    }

    /// Both views of one clip of the batch.
    fn views_of(&self, batch: &Batch<'_>, pair: Pair<'_>, scratch: &mut Scratch) -> Result<()> {
        let Pair { row, out, moments } = pair;
        let values = self.shape.values();
        let banked = batch.bank.len() / values;
        let own = banked + row;
        let position = batch.position.wrapping_add(row as u64);
        let draws: [Draw; VIEWS] =
            std::array::from_fn(|view| self.draw(batch.seed, position, view as u32, own as u64));
        let partners = draws.map(|draw| draw.mix.map(|(back, lambda)| (own - 1 - back as usize, lambda)));
        // What is read next: the partners one after the other, then the next clip.
        let ahead = |view: usize| {
            let from = partners.get(view).map_or(Some(own + 1), |p| p.map(|(from, _)| from));
            from.map_or(&[][..], |from| batch.clip(from, values))
        };

        let Scratch { energies, work } = scratch;
        energies.resize(values, 0.0);
        let logmel = batch.clip(own, values);
        if partners.iter().any(Option::is_some) {
            self.energies(logmel, Scale::NONE, energies, ahead(0), || batch.name(own, values))?;
        } else if !all_finite(logmel) {
            return Err(unfit(logmel, &batch.name(own, values)));
        }
        for (view, (out, moments)) in out.into_iter().zip(moments).enumerate() {
            let clip = Clip { logmel, energies };
            let mix =
                partners[view].map(|(from, lambda)| (Partner::LogMel(batch.clip(from, values)), lambda));
            *moments =
                self.view(clip, mix, draws[view].crop, ahead(view + 1), out, work).ok_or_else(|| {
                    let from = partners[view].map_or(own, |(from, _)| from);
                    unfit(batch.clip(from, values), &batch.name(from, values))
                })?;
        }
        Ok(())
    }

    /// What takes the mean off all views, and divides by their deviation; the sums are added in the order of the clips.
    fn normalisation(&self, moments: &[[Moments; VIEWS]]) -> Scale {
        let count = (moments.len() * VIEWS * self.shape.values()) as f64;
        let total = |part: fn(&Moments) -> f64| moments.iter().flatten().map(part).sum::<f64>();
        let mean = total(|m| m.sum) / count;
        let variance = (total(|m| m.squares) - count * mean * mean) / (count - 1.0);
        let std = variance.max(0.0).sqrt().max(self.recipe.eps);
        Scale { mean: mean as f32, factor: (1.0 / std) as f32 }
    }

    /// ln((1 − λ) eˣ + λ eᶻ + eps) of clips x and z, (B, F, T), with one λ for every band, (B, F), to `out`.
    pub fn log_mixup_exp(
        &self,
        x: &[f32],
        z: &[f32],
        lambdas: &[f32],
        out: &mut [f32],
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let Shape { bands, frames } = self.shape;
        let rows = lambdas.len() / bands;
        let lengths = [("x", x.len()), ("z", z.len()), ("out", out.len())];
        if let Some((name, length)) = lengths.iter().find(|(_, length)| *length != rows * self.shape.values())
        {
            return Err(Error::Argument(format!(
                "{name}: expected {rows} x {} values, got {length}",
                self.shape.values()
            )));
        }
        if let Some(wrong) = lambdas.iter().find(|l| !(0.0..=1.0).contains(*l)) {
            return Err(Error::Argument(format!("lam: expected 0 to 1, got {wrong}")));
        }
        let clip = self.shape.values();
        let at = |row: usize| row * clip..(row + 1) * clip;
        let jobs = out.chunks_exact_mut(clip).enumerate();
        let (domain, eps) = (self.recipe.domain, self.recipe.eps as f32);
        let job = |(row, out): (usize, &mut [f32]), scratch: &mut pool::Scratch| {
            let energies = &mut scratch.augment.energies;
            energies.resize(clip, 0.0);
            self.energies(&x[at(row)], Scale::NONE, energies, &[], || format!("x: row {row}"))?;
            let z = &z[at(row)];
            for (band, out) in out.chunks_exact_mut(frames).enumerate() {
                let part = band * frames..(band + 1) * frames;
                let (energies, partner) = (&energies[part.clone()], Partner::LogMel(&z[part]));
                let mix =
                    Mix { energies, partner, lambda: lambdas[row * bands + band], ramp: None, domain, eps };
                if !self.isa.run(MixBand { mix, out }) {
                    return Err(unfit(z, &format!("z: row {row}")));
                }
            }
            Ok(())
        };
        pool::run_short(jobs, threads, job, go_on)
    }

    /// The crops of clips x, (B, F, T), one each, resized to (F, T), to `out`.
    pub fn random_resize_crop(
        &self,
        x: &[f32],
        crops: &[Crop],
        out: &mut [f32],
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let clip = self.shape.values();
        for (name, length) in [("x", x.len()), ("out", out.len())] {
            if length != crops.len() * clip {
                let rows = crops.len();
                return Err(Error::Argument(format!(
                    "{name}: expected {rows} x {clip} values, got {length}"
                )));
            }
        }
        crops.iter().try_for_each(|crop| crop.check(self.shape))?;
        let jobs = out.chunks_exact_mut(clip).enumerate();
        let job = |(row, out): (usize, &mut [f32]), scratch: &mut pool::Scratch| {
            let (x, crop) = (&x[row * clip..][..clip], crops[row]);
            if !all_finite(x) {
                return Err(unfit(x, &format!("x: row {row}")));
            }
            let clip = Clip { logmel: x, energies: x };
            self.mixed_and_cropped(clip, None, Some(crop), &[], out, &mut scratch.augment.work);
            Ok(())
        };
        pool::run_short(jobs, threads, job, go_on)
    }
}

/// Whether no value is NaN or infinite.
fn all_finite(logmel: &[f32]) -> bool {
    // Not `all`: without a way out in between it is a loop over vectors.
    logmel.iter().fold(true, |all, x| all & x.is_finite())
}

/// Why a kernel refused `logmel`.
fn unfit(logmel: &[f32], name: &str) -> Error {
    let problem = if logmel.iter().all(|x| x.is_finite()) {
        "holds values so large that their exponential overflows"
    } else {
        "holds NaN or infinite values"
    };
    Error::Argument(format!("{name} {problem}"))
}
