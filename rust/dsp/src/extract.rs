//! Many files at once: paths -> log-mels or health, one job a file, over the pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::error::{Error, Remedy, Result};
use crate::logmel::LogMel;
use crate::pool;
use crate::recording::{self, Audio, Health, ReadOptions, Source};

/// The log-mels of one recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// (W, F, T), row-major, where W = `starts.len()`.
    pub logmel: Vec<f32>,
    /// Frames T of a window.
    pub frames: usize,
    /// Where each window starts, seconds.
    pub starts: Vec<f64>,
    /// What the recording is like.
    pub health: Health,
}

/// Log-mels of all windows of every path, in order. A file that cannot be read is an `Err` among the results;
/// the call itself fails only when `go_on` says `false` or the threads cannot be had.
pub fn read(
    logmel: &LogMel,
    paths: &[PathBuf],
    options: &ReadOptions,
    threads: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Result<Extract>>> {
    each(paths, threads, go_on, |path, scratch| read_one(logmel, path, options, scratch))
}

/// Samples of one file as stored; of a large one on the pool, so that the caller can interrupt it.
pub fn decode(path: &Path, go_on: &mut dyn FnMut() -> bool) -> Result<Audio> {
    /// Bytes that are decoded in a fraction of a second, whatever they hold.
    const SMALL: u64 = 16 << 20;
    let source = Source::open(path)?;
    let is_small = source.length <= SMALL;
    let mut result = None;
    let files = [(source, &mut result)].into_iter();
    let job = into_slot(|source: Source, scratch: &mut pool::Scratch| {
        source.decode(&mut scratch.files.bytes, Vec::new())
    });
    if is_small {
        pool::run_short(files, 1, job, go_on)?;
    } else {
        pool::run(files, 1, job, go_on)?;
    }
    result.unwrap_or(Err(Error::Interrupted))
}

/// Health of every path, in order, from decoding all of it.
pub fn scan(
    paths: &[PathBuf],
    channel: Option<usize>,
    threads: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Result<Health>>> {
    each(paths, threads, go_on, |path, scratch| recording::scan(path, channel, &mut scratch.files))
}

fn read_one(
    logmel: &LogMel,
    path: &Path,
    options: &ReadOptions,
    scratch: &mut pool::Scratch,
) -> Result<Extract> {
    let (windows, health) = recording::read_with(path, options, &mut scratch.files)?;
    let frames = logmel.frames(windows.clip)?;
    let per_window = logmel.spec().n_mels * frames;
    let mut out = vec![0.0; windows.starts.len() * per_window];
    for (window, out) in windows.iter().zip(out.chunks_exact_mut(per_window)) {
        pool::check()?;
        logmel.compute(window, &mut scratch.logmel, out).map_err(Error::of_recording)?;
    }
    let seconds = |&start: &usize| start as f64 / f64::from(options.sample_rate);
    let starts = windows.starts.iter().map(seconds).collect();
    scratch.files.take_back(windows.samples);
    Ok(Extract { logmel: out, frames, starts, health })
}

/// `one` for every item, in order, where what one file does wrong is its own result.
pub(crate) fn each<P: Sync, R: Send>(
    items: &[P],
    threads: usize,
    go_on: &mut dyn FnMut() -> bool,
    one: impl Fn(&P, &mut pool::Scratch) -> Result<R> + Sync,
) -> Result<Vec<Result<R>>> {
    let mut results: Vec<Option<Result<R>>> = items.iter().map(|_| None).collect();
    pool::run(items.iter().zip(results.iter_mut()), threads, into_slot(one), go_on)?;
    Ok(results.into_iter().map(|slot| slot.unwrap_or(Err(Error::Interrupted))).collect())
}

/// A job that puts the result of `one` into its slot, so that a file that cannot be read ends nothing else.
fn into_slot<T, R>(
    one: impl Fn(T, &mut pool::Scratch) -> Result<R>,
) -> impl Fn((T, &mut Option<Result<R>>), &mut pool::Scratch) -> Result<()> {
    move |(item, slot), scratch| {
        pool::check()?;
        let result = contained(|| one(item, scratch));
        scratch.files.trim();
        match result {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            result => {
                *slot = Some(result);
                Ok(())
            }
        }
    }
}

/// What `read` gives. Decoders read what strangers wrote: a bug that one file wakes must not take the others along.
pub(crate) fn contained<R>(read: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::format("broke the decoder, which is a bug of it", Remedy::Convert)))
}
