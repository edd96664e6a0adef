//! Recordings + order -> batches of two views: a pure function of (seed, draw), whatever was computed before.
//!
//! The stream of draws is global. Batch k of `global_batch` draws begins at draw k · `global_batch`; this feed makes the
//! `batch` rows of its `rank`. Draw p takes a clip by the [`Order`]; its two views are mixed with the clips of earlier
//! draws, p − 1 − r for r uniform in [0, min(p, bank_size)), drawn again while that is a window of the same recording.
//!
//! The first-in-first-out bank of the method is therefore no state: [`Ring`] only keeps the energies of the clips of
//! recent draws so that they need not be computed again. One that is missing, as after [`Feed::seek`], is computed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::augment::{Augment, Clip, Draw, VIEWS};
use crate::corpus::{Corpus, Window};
use crate::error::{Error, Remedy, Result};
use crate::order::Order;
use crate::pool;
use crate::view::{Moments, Partner, Scale};

/// How a feed makes batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Rows of a batch.
    pub batch: usize,
    /// Rows of all ranks' batches together.
    pub global_batch: usize,
    /// Which rows are this feed's: `rank` · `batch` and those after it.
    pub rank: usize,
    /// Mean of the training set's log-mels, which is subtracted.
    pub mean: f32,
    /// Their standard deviation, which is divided by.
    pub std: f32,
    /// Whether both views of a batch together are brought to mean 0 and deviation 1.
    pub post_normalise: bool,
    /// Threads that compute.
    pub threads: usize,
}

/// Batches of two views, one after the other.
pub struct Feed {
    corpus: Arc<Corpus>,
    windows: Vec<Window>,
    augment: Augment,
    order: Order,
    settings: Settings,
    ring: Ring,
    /// First draw of the next global batch.
    next: u64,
}

/// What a batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Draw of its first row.
    pub position: u64,
    /// The window of every row.
    pub windows: Vec<u32>,
}

/// One row of a batch: a clip and what is drawn for its views.
struct Row {
    window: u32,
    views: [Planned; VIEWS],
}

/// What is drawn for a view, its partner found: the window and its weight.
struct Planned {
    draw: Draw,
    partner: Option<(u32, f32)>,
}

/// Where the views of a row go.
struct Job<'a> {
    row: &'a Row,
    out: [&'a mut [f32]; VIEWS],
    moments: &'a mut [Moments; VIEWS],
}

/// Buffers of one thread.
#[derive(Default)]
pub struct Scratch {
    /// A log-mel.
    logmel: Vec<f32>,
}

impl Feed {
    /// Draws `order` gives are places in `windows`, which lie in `corpus`.
    pub fn new(
        corpus: Arc<Corpus>,
        windows: Vec<Window>,
        augment: Augment,
        order: Order,
        settings: Settings,
    ) -> Result<Self> {
        let Settings { batch, global_batch, rank, mean, std, .. } = settings;
        let inside = |w: &Window| (w.file as usize) < corpus.len() && w.index < w.of;
        let rows = (rank.checked_add(1)).and_then(|ranks| ranks.checked_mul(batch));
        let wanted: [(bool, &str); 7] = [
            (augment.bank_size() <= MOST_BANK, "bank_size: a feed remembers 1048576 clips at most"),
            (corpus.bands() == augment.shape().bands, "corpus: its log-mels have another number of bands"),
            (windows.iter().all(inside), "windows: one lies outside of the corpus"),
            (order.clips().all(|clip| (clip as usize) < windows.len()), "groups: a clip is no window"),
            (batch > 0, "batch: expected 1 or more"),
            (rows.is_some_and(|rows| rows <= global_batch), "rank: its rows leave the global batch"),
            (
                mean.is_finite() && std.is_finite() && std > 0.0 && (1.0 / std).is_finite(),
                "mean, std: expected finite numbers, std above 0",
            ),
        ];
        match wanted.iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::Argument((*message).to_owned())),
            None => Ok(Self { corpus, windows, augment, order, settings, ring: Ring::default(), next: 0 }),
        }
    }

    /// What this feed was built with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Values of one view of a batch, B · F · T.
    #[must_use]
    pub fn values(&self) -> usize {
        self.settings.batch * self.augment.shape().values()
    }

    /// First draw of the next global batch.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes on with the global batch that begins at draw `draw`.
    pub fn seek(&mut self, draw: u64) {
        self.next = draw;
        self.ring = Ring::default();
        for earlier in draw.saturating_sub(u64::from(self.augment.bank_size()))..draw {
            self.ring.push(self.order.clip(earlier));
        }
    }

    /// The next batch into `out`, (B, F, T) each. After an error the same batch is next, and `out` is undefined.
    pub fn fill(&mut self, out: [&mut [f32]; VIEWS], go_on: &mut dyn FnMut() -> bool) -> Result<Batch> {
        if out.iter().any(|view| view.len() != self.values()) {
            return Err(Error::Argument(format!("out: expected two arrays of {} values", self.values())));
        }
        let position = self.next;
        let rows = self.plan();
        let made = self.load(&rows, go_on).and_then(|()| self.views(&rows, out, go_on));
        if let Err(error) = made {
            self.seek(position);
            return Err(error);
        }
        self.next = position.wrapping_add(self.settings.global_batch as u64);
        Ok(Batch {
            position: position.wrapping_add((self.settings.rank * self.settings.batch) as u64),
            windows: rows.iter().map(|row| row.window).collect(),
        })
    }

    /// Draws the next global batch; what is mixed into this rank's rows is found among the draws before each.
    fn plan(&mut self) -> Vec<Row> {
        let Settings { batch, global_batch, rank, .. } = self.settings;
        self.ring.forget_all_but(self.augment.bank_size() as usize);
        let own = rank * batch..(rank + 1) * batch;
        let mut rows = Vec::with_capacity(batch);
        for row in 0..global_batch {
            let draw = self.next.wrapping_add(row as u64);
            let window = self.order.clip(draw);
            if own.contains(&row) {
                let views = std::array::from_fn(|view| self.planned(draw, view as u32, window));
                rows.push(Row { window, views });
            }
            self.ring.push(window);
        }
        rows
    }

    fn planned(&self, draw: u64, view: u32, window: u32) -> Planned {
        let seed = self.settings.seed;
        let drawn = self.augment.draw(seed, draw, view, draw);
        let file = |window: u32| self.windows[window as usize].file;
        let partner = drawn.mix.and_then(|(_, lambda)| {
            let others = |back: u32| (file(self.ring.back(back)) != file(window)).then_some(back);
            let mut partners = self.augment.partners(seed, draw, view, draw);
            // Almost always one of the first will do; that there is none at all must be found out, or it never ends.
            let found = partners.by_ref().take(ENOUGH).find_map(others).or_else(|| {
                let history = draw.min(u64::from(self.augment.bank_size())) as u32;
                (0..history).any(|back| others(back).is_some()).then(|| partners.find_map(others))?
            });
            found.map(|back| (self.ring.back(back), lambda))
        });
        Planned { draw: drawn, partner }
    }

    /// Computes the energies that are wanted for `rows` and that the ring has not.
    fn load(&mut self, rows: &[Row], go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let partners = |row: &Row| row.views.each_ref().map(|view| view.partner.map(|(window, _)| window));
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for row in rows {
            let [first, second] = partners(row);
            let own = (first.is_some() || second.is_some()).then_some(row.window);
            for window in [own, first, second].into_iter().flatten() {
                if seen.insert(window) && self.ring.energies(window).is_empty() {
                    missing.push((window, self.ring.spare.pop().unwrap_or_default()));
                }
            }
        }
        let values = self.augment.shape().values();
        let job = |(window, energies): &mut (u32, Vec<f32>), scratch: &mut pool::Scratch| {
            energies.resize(values, 0.0);
            let wanted = self.windows[*window as usize];
            let mut logmel = std::mem::take(&mut scratch.feed.logmel);
            let result = match self.corpus.kept(wanted, values) {
                Some(kept) => self.energies(wanted, kept, energies),
                None => self
                    .read(wanted, &mut logmel, scratch)
                    .and_then(|()| self.energies(wanted, &logmel, energies)),
            };
            scratch.feed.logmel = logmel;
            result
        };
        let result = pool::run_short(missing.iter_mut(), self.settings.threads, job, go_on);
        for (window, energies) in missing {
            self.ring.put(window, energies);
        }
        result
    }

    /// The log-mel of `window`.
    fn read(&self, window: Window, logmel: &mut Vec<f32>, scratch: &mut pool::Scratch) -> Result<()> {
        logmel.resize(self.augment.shape().values(), 0.0);
        self.corpus.read(window, logmel, scratch)
    }

    fn energies(&self, window: Window, logmel: &[f32], energies: &mut [f32]) -> Result<()> {
        let computed = self.augment.energies(logmel, self.scale(), energies, &[], || "it".to_owned());
        computed.map_err(|error| {
            Error::content(error.to_string(), Remedy::LeaveOut).of_file(self.corpus.path(window.file))
        })
    }

    /// What pre-normalises log-mels.
    fn scale(&self) -> Scale {
        Scale { mean: self.settings.mean, factor: 1.0 / self.settings.std }
    }

    fn views(&self, rows: &[Row], out: [&mut [f32]; VIEWS], go_on: &mut dyn FnMut() -> bool) -> Result<()> {
        let (values, threads) = (self.augment.shape().values(), self.settings.threads);
        let mut moments = vec![[Moments::default(); VIEWS]; rows.len()];
        let [first, second] = out;
        let places = first.chunks_exact_mut(values).zip(second.chunks_exact_mut(values));
        let jobs = places.zip(&mut moments).zip(rows).map(|(((first, second), moments), row)| Job {
            row,
            out: [first, second],
            moments,
        });
        pool::run_short(jobs, threads, |job, scratch| self.views_of(job, scratch), go_on)?;
        if self.settings.post_normalise {
            self.augment.post_normalise(&moments, [first, second], threads, go_on)?;
        }
        Ok(())
    }

    /// Both views of one row.
    fn views_of(&self, job: Job<'_>, scratch: &mut pool::Scratch) -> Result<()> {
        let Job { row, out, moments } = job;
        let mut logmel = std::mem::take(&mut scratch.feed.logmel);
        logmel.resize(self.augment.shape().values(), 0.0);
        if row.views.iter().any(|view| view.partner.is_none()) {
            self.read(self.windows[row.window as usize], &mut logmel, scratch)?;
            self.augment.normalise(&mut logmel, self.scale());
        }
        let energies = |view: Option<&Planned>| {
            view.and_then(|view| view.partner).map(|(window, lambda)| (self.ring.energies(window), lambda))
        };
        for (i, out) in out.into_iter().enumerate() {
            let mix =
                energies(row.views.get(i)).map(|(partner, lambda)| (Partner::Energies(partner), lambda));
            let own = if mix.is_some() { self.ring.energies(row.window) } else { &logmel };
            let clip = Clip { logmel: &logmel, energies: own };
            let ahead = energies(row.views.get(i + 1)).map_or(&[][..], |(partner, _)| partner);
            let (crop, work) = (row.views[i].draw.crop, &mut scratch.augment.work);
            // Energies were checked when they were computed.
            moments[i] = self.augment.view(clip, mix, crop, ahead, out, work).unwrap_or_default();
        }
        scratch.feed.logmel = logmel;
        Ok(())
    }
}

/// The largest bank: every seek goes through as many draws.
const MOST_BANK: u32 = 1 << 20;

/// Partners that are drawn before it is asked whether any will do.
const ENOUGH: usize = 64;

/// The clips of the last draws, and the energies of those that were wanted.
#[derive(Default)]
struct Ring {
    /// Their windows, the last draw last.
    recent: VecDeque<u32>,
    /// How many of them a window is, and its energies, empty until they were wanted.
    clips: HashMap<u32, (u32, Vec<f32>)>,
    /// Buffers of forgotten clips.
    spare: Vec<Vec<f32>>,
}

impl Ring {
    fn push(&mut self, window: u32) {
        self.recent.push_back(window);
        self.clips.entry(window).or_default().0 += 1;
    }

    /// Forgets the oldest draws.
    fn forget_all_but(&mut self, draws: usize) {
        while self.recent.len() > draws
            && let Some(window) = self.recent.pop_front()
        {
            if let Some((count, _)) = self.clips.get_mut(&window) {
                *count -= 1;
                if *count == 0
                    && let Some((_, energies)) = self.clips.remove(&window)
                    && !energies.is_empty()
                {
                    self.spare.push(energies);
                }
            }
        }
    }

    /// The window of the draw `back` before the last one.
    fn back(&self, back: u32) -> u32 {
        self.recent[self.recent.len() - 1 - back as usize]
    }

    /// Empty where they were never computed.
    fn energies(&self, window: u32) -> &[f32] {
        self.clips.get(&window).map_or(&[], |(_, energies)| energies)
    }

    fn put(&mut self, window: u32, energies: Vec<f32>) {
        if let Some((_, place)) = self.clips.get_mut(&window) {
            *place = energies;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::augment::Recipe;
    use crate::corpus::Keep;
    use crate::logmel::{LogMel, Spec};
    use crate::mel::MelScale;
    use crate::recording::ReadOptions;
    use crate::simd::Isa;
    use crate::view::{Domain, Shape};

    const BANK: u32 = 20;

    /// A feed of `files` recordings of `windows` windows each, none of which is there.
    fn feed(files: u32, windows: u32) -> Feed {
        let spec = Spec {
            sample_rate: 16_000,
            n_fft: 1024,
            hop_length: 512,
            n_mels: 8,
            f_min: 0.0,
            f_max: 8_000.0,
            mel_scale: MelScale::Slaney,
            eps: 1e-7,
        };
        let options = ReadOptions {
            sample_rate: 16_000,
            n_fft: 1024,
            clip_samples: 16_000,
            channel: None,
            allow_upsampling: false,
        };
        let front = Arc::new(LogMel::new(spec).expect("a sound recipe"));
        let paths = (0..files).map(|file| (PathBuf::from(format!("{file}.wav")), None)).collect();
        let corpus = Arc::new(Corpus::new(front, paths, options, Keep::Float, 0));
        let window = |file| move |index| Window { file, index, of: windows, start: 0 };
        let windows: Vec<Window> = (0..files).flat_map(|file| (0..windows).map(window(file))).collect();
        let recipe = Recipe {
            alpha: 0.4,
            crop: true,
            bank_size: BANK,
            eps: 1e-7,
            domain: Domain::Normalised,
            ramp: None,
        };
        let augment = Augment::new(Isa::available()[0], Shape { bands: 8, frames: 32 }, recipe);
        let order = Order::new(7, vec![(0..windows.len() as u32).collect()], &[0]);
        let settings = Settings {
            seed: 7,
            batch: 5,
            global_batch: 5,
            rank: 0,
            mean: 0.0,
            std: 1.0,
            post_normalise: true,
            threads: 1,
        };
        let (augment, order) = (augment.expect("a sound recipe"), order.expect("a group of all"));
        Feed::new(corpus, windows, augment, order, settings).expect("all fits")
    }

    /// Window and partners of every row of the next batches.
    fn planned(feed: &mut Feed, batches: usize) -> Vec<(u32, [Option<u32>; VIEWS])> {
        let mut all = Vec::new();
        for _ in 0..batches {
            let rows = feed.plan();
            feed.next += feed.settings.global_batch as u64;
            let partner = |view: &Planned| view.partner.map(|(window, _)| window);
            all.extend(rows.iter().map(|row| (row.window, row.views.each_ref().map(partner))));
        }
        all
    }

    /// Against a plain first-in-first-out bank: of its clips that are of other recordings, each is as likely.
    #[test]
    fn partners_are_uniform_among_the_other_recordings_of_the_bank() {
        let mut feed = feed(6, 4);
        let drawn = planned(&mut feed, 20_000);
        let mut counts = HashMap::<usize, Vec<u32>>::new();
        for (p, (window, partners)) in drawn.iter().enumerate().skip(BANK as usize) {
            let bank = drawn[p - BANK as usize..p].iter().map(|(window, _)| *window);
            let others: Vec<u32> = bank.filter(|other| other / 4 != window / 4).collect();
            for partner in partners {
                let partner = partner.expect("twenty draws are not of one recording");
                assert!(others.contains(&partner));
                // A window that lies in the bank twice counts half at each of its places.
                let places: Vec<usize> = (0..others.len()).filter(|&i| others[i] == partner).collect();
                let place = places[p % places.len()];
                counts.entry(others.len()).or_insert_with(|| vec![0; others.len()])[place] += 1;
            }
        }
        let mut tested = 0;
        for (size, counts) in counts {
            let total: u32 = counts.iter().sum();
            let expected = f64::from(total) / size as f64;
            if expected < 50.0 {
                continue;
            }
            let statistic: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            let freedom = (size - 1) as f64;
            assert!((statistic - freedom) / (2.0 * freedom).sqrt() < 4.5, "{size} others: {statistic}");
            tested += 1;
        }
        assert!(tested >= 3);
    }

    #[test]
    fn only_what_came_before_is_mixed() {
        let mut alone = feed(1, 40);
        assert!(planned(&mut alone, 50).iter().all(|(_, partners)| *partners == [None; VIEWS]));
        let drawn = planned(&mut feed(2, 30), 30);
        let first_other = drawn.iter().position(|(window, _)| window / 30 != drawn[0].0 / 30).expect("both");
        for (p, (_, partners)) in drawn.iter().enumerate() {
            assert_eq!(partners.iter().all(Option::is_some), p >= first_other, "draw {p}");
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_the_path_that_led_to_it() {
        for (files, windows) in [(1, 30), (2, 3), (40, 1), (9, 5)] {
            let straight = planned(&mut feed(files, windows), 40);
            for batch in [0, 1, 3, 17, 39] {
                let mut other = feed(files, windows);
                planned(&mut other, 2);
                other.seek(batch * 5);
                assert_eq!(planned(&mut other, 1), straight[batch as usize * 5..][..5]);
            }
        }
    }

    #[test]
    fn the_ring_forgets_what_is_out_of_reach() {
        let mut feed = feed(500, 1);
        for _ in 0..300 {
            let rows = feed.plan();
            for row in rows {
                feed.ring.put(row.window, vec![1.0; 4]);
            }
            feed.next += 5;
            let held = feed.ring.clips.values().filter(|(_, energies)| !energies.is_empty()).count();
            assert!(held <= BANK as usize + 5 && feed.ring.recent.len() <= BANK as usize + 5);
        }
    }
}
