//! The recordings of a training set and their log-mels: computed when they are wanted, kept while there is room.
//!
//! What is kept first stays: clips come round in permutations, so no other would be wanted sooner. With
//! [`Keep::Half`] log-mels are rounded to float16 whether they are kept or not, so that the cache changes no value.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Remedy, Result};
use crate::extract;
use crate::logmel::LogMel;
use crate::npy;
use crate::pool;
use crate::recording::{self, Health, ReadOptions, Wave};

/// How log-mels are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// float32, as they are.
    Float,
    /// float16: half the memory; values are off by up to 2⁻¹¹ of themselves.
    Half,
}

/// The recordings of a training set.
pub struct Corpus {
    front: Arc<LogMel>,
    options: ReadOptions,
    keep: Keep,
    files: Vec<File>,
    /// Bytes that may still be kept.
    room: AtomicUsize,
}

struct File {
    path: PathBuf,
    /// Of a ready log-mel: what its unit is in natural logarithms.
    ln_per_unit: Option<f64>,
    /// All its windows.
    kept: OnceLock<Kept>,
}

/// Log-mels (W, F, T).
enum Kept {
    Float(Vec<f32>),
    Half(Vec<f16>),
}

/// What a look at one recording found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// First sample of every window, at the detector's rate.
    pub starts: Vec<usize>,
    /// Frames T of every window.
    pub frames: usize,
    /// What the recording is like; a ready log-mel cannot say.
    pub health: Option<Health>,
    /// Sum of all values of its log-mels.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
}

/// One window of one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The recording, as its place in the corpus.
    pub file: u32,
    /// Which of its windows.
    pub index: u32,
    /// How many it has.
    pub of: u32,
    /// First sample, at the detector's rate.
    pub start: u64,
}

/// Buffers of one thread.
#[derive(Default)]
pub struct Scratch {
    rounded: Vec<f16>,
}

impl Corpus {
    /// Recordings that are read with `options` and looked at through `front`; a path with a factor is a ready log-mel,
    /// which times the factor is a natural logarithm. At most `room` bytes are kept.
    #[must_use]
    pub fn new(
        front: Arc<LogMel>,
        paths: Vec<(PathBuf, Option<f64>)>,
        options: ReadOptions,
        keep: Keep,
        room: usize,
    ) -> Self {
        let file = |(path, ln_per_unit)| File { path, ln_per_unit, kept: OnceLock::new() };
        let files = paths.into_iter().map(file).collect();
        Self { front, options, keep, files, room: AtomicUsize::new(room) }
    }

    /// How many recordings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Where recording `file` lies.
    #[must_use]
    pub fn path(&self, file: u32) -> &Path {
        &self.files[file as usize].path
    }

    /// Bands F of every log-mel.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.front.spec().n_mels
    }

    /// Bytes that may still be kept.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Looks at the recordings `files`, in order, and keeps their log-mels. One that cannot be read is an `Err` among
    /// the results; the call itself fails only when `go_on` says `false` or the threads cannot be had.
    pub fn survey(
        &self,
        files: Range<usize>,
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Result<Found>>> {
        let files = self.files.get(files).ok_or_else(|| {
            Error::Argument(format!("files: expected a range within the {} there are", self.files.len()))
        })?;
        extract::each(files, threads, go_on, |file, scratch| self.find(file, scratch))
    }

    fn find(&self, file: &File, scratch: &mut pool::Scratch) -> Result<Found> {
        if let Some(unit) = file.ln_per_unit {
            let (frames, logmel) = self.matrix(file, unit, scratch)?;
            let (sum, squares) = moments(&logmel);
            self.keep(file, logmel);
            return Ok(Found { starts: vec![0], frames, health: None, sum, squares });
        }
        let (windows, health) = recording::read_with(&file.path, &self.options, &mut scratch.files)?;
        let frames = self.front.frames(windows.clip)?;
        let (count, values) = (windows.starts.len(), self.bands() * frames);
        // What is not kept needs no more memory than one window.
        let fits = count * values * self.keep.bytes() <= self.room();
        let mut logmels = vec![0.0; if fits { count * values } else { values }];
        let (mut sum, mut squares) = (0.0, 0.0);
        for (i, window) in windows.iter().enumerate() {
            pool::check()?;
            let out = &mut logmels[if fits { i * values } else { 0 }..][..values];
            self.compute(Wave::Float(window), out, scratch)?;
            let (of_window, squares_of_window) = moments(out);
            sum += of_window;
            squares += squares_of_window;
        }
        scratch.files.take_back(windows.samples);
        if fits {
            self.keep(file, logmels);
        }
        Ok(Found { starts: windows.starts, frames, health: Some(health), sum, squares })
    }

    /// The log-mel of `window`, of `values` values, where it lies in memory as it is.
    #[must_use]
    pub fn kept(&self, window: Window, values: usize) -> Option<&[f32]> {
        match self.files[window.file as usize].kept.get()? {
            Kept::Float(kept) => kept.get(window.index as usize * values..)?.get(..values),
            Kept::Half(_) => None,
        }
    }

    /// The log-mel of `window` to `out`, (F, T). An error names the file.
    pub fn read(&self, window: Window, out: &mut [f32], scratch: &mut pool::Scratch) -> Result<()> {
        let file = &self.files[window.file as usize];
        self.read_from(file, window, out, scratch).map_err(|error| error.of_file(&file.path))
    }

    fn read_from(
        &self,
        file: &File,
        window: Window,
        out: &mut [f32],
        scratch: &mut pool::Scratch,
    ) -> Result<()> {
        if let Some(kept) = file.kept.get() {
            return kept.copy(window.index as usize, out).ok_or_else(changed);
        }
        // Taken out of the scratch, as the log-mel needs the rest of it while samples lie here.
        let mut buffers = std::mem::take(&mut scratch.files);
        let result = extract::contained(|| self.read_file(file, window, out, &mut buffers, scratch));
        buffers.trim();
        scratch.files = buffers;
        result
    }

    fn read_file(
        &self,
        file: &File,
        window: Window,
        out: &mut [f32],
        buffers: &mut recording::Buffers,
        scratch: &mut pool::Scratch,
    ) -> Result<()> {
        if let Some(unit) = file.ln_per_unit {
            let (_, logmel) = self.matrix(file, unit, scratch)?;
            if logmel.len() != out.len() {
                return Err(changed());
            }
            out.copy_from_slice(&logmel);
            self.keep(file, logmel);
            return Ok(());
        }
        let (index, start) = (window.index as usize, window.start as usize);
        let fits = window.of as usize * out.len() * self.keep.bytes() <= self.room();
        if !fits
            && window.of > 1
            && let Some(wave) = recording::stretch(&file.path, &self.options, start, buffers)?
        {
            return self.compute(wave, out, scratch);
        }
        let whole = recording::whole(&file.path, &self.options, buffers)?;
        if whole.starts.len() != window.of as usize || whole.starts.get(index) != Some(&start) {
            return Err(changed());
        }
        if !fits {
            return self.compute(whole.window(index), out, scratch);
        }
        let mut logmels = vec![0.0; whole.starts.len() * out.len()];
        for (i, logmel) in logmels.chunks_exact_mut(out.len()).enumerate() {
            pool::check()?;
            self.compute(whole.window(i), logmel, scratch)?;
        }
        out.copy_from_slice(&logmels[index * out.len()..][..out.len()]);
        self.keep(file, logmels);
        Ok(())
    }

    /// T and values of a ready log-mel, as precise as it is kept.
    fn matrix(&self, file: &File, unit: f64, scratch: &mut pool::Scratch) -> Result<(usize, Vec<f32>)> {
        let npy::Matrix { rows, columns, mut values } = npy::read(&file.path, unit)?;
        if rows != self.bands() {
            let reason = format!("its log-mel has {rows} bands, where {} are expected", self.bands());
            return Err(Error::content(reason, Remedy::LeaveOut));
        }
        if values.iter().any(|value| value.abs() > LARGEST) {
            let reason =
                format!("its log-mel has values beyond {LARGEST}, which no energy's logarithm reaches");
            return Err(Error::content(reason, Remedy::LeaveOut));
        }
        self.round(&mut values, scratch);
        Ok((columns, values))
    }

    /// The log-mel of one window, as precise as it is kept.
    fn compute(&self, wave: Wave<'_>, out: &mut [f32], scratch: &mut pool::Scratch) -> Result<()> {
        let logmel = &mut scratch.logmel;
        match wave {
            Wave::Float(wave) => self.front.compute(wave, logmel, out),
            Wave::Int(wave) => self.front.compute(wave, logmel, out),
        }
        .map_err(Error::of_recording)?;
        self.round(out, scratch);
        Ok(())
    }

    /// Makes log-mels as precise as they are kept.
    fn round(&self, logmels: &mut [f32], scratch: &mut pool::Scratch) {
        if self.keep == Keep::Half {
            let rounded = &mut scratch.corpus.rounded;
            rounded.resize(logmels.len(), f16::ZERO);
            rounded.convert_from_f32_slice(logmels);
            rounded.convert_to_f32_slice(logmels);
        }
    }

    /// Keeps all log-mels of `file`, if there is room.
    fn keep(&self, file: &File, logmels: Vec<f32>) {
        let bytes = logmels.len() * self.keep.bytes();
        let take = |room: usize| room.checked_sub(bytes);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return;
        }
        let kept = match self.keep {
            Keep::Float => Kept::Float(logmels),
            Keep::Half => {
                let mut rounded = vec![f16::ZERO; logmels.len()];
                rounded.convert_from_f32_slice(&logmels);
                Kept::Half(rounded)
            }
        };
        if file.kept.set(kept).is_err() {
            self.room.fetch_add(bytes, Ordering::Relaxed); // another thread was faster
        }
    }
}

impl Keep {
    fn bytes(self) -> usize {
        match self {
            Self::Float => size_of::<f32>(),
            Self::Half => size_of::<f16>(),
        }
    }
}

impl Kept {
    /// Log-mel `index`; `None` where there is none of this size.
    fn copy(&self, index: usize, out: &mut [f32]) -> Option<()> {
        let part = index * out.len()..(index + 1) * out.len();
        match self {
            Self::Float(values) => out.copy_from_slice(values.get(part)?),
            Self::Half(values) => values.get(part)?.convert_to_f32_slice(out),
        }
        Some(())
    }
}

/// Largest magnitude of a ready log-mel. Any float32 energy's logarithm lies below 104, and float16 ends at 65504.
const LARGEST: f32 = 10_000.0;

/// A recording was one thing when it was looked at, and is another now.
fn changed() -> Error {
    Error::content("it has changed since it was looked at", Remedy::StartAgain)
}

/// Sum and sum of squares, the same on every machine.
fn moments(values: &[f32]) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (stripes, rest) = values.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for stripe in stripes.iter().chain([&last]) {
        for lane in 0..LANES {
            let value = f64::from(stripe[lane]);
            sums[lane] += value;
            squares[lane] += value * value;
        }
    }
    (sums.iter().sum(), squares.iter().sum())
}
