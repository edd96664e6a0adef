//! `Corpus` and `Feed`: training sets and their batches as Python sees them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asd_dsp::augment::VIEWS;
use asd_dsp::corpus::{self, Keep, Window};
use asd_dsp::feed::{self, Settings};
use asd_dsp::order::Order;
use asd_dsp::prefetch::{Place, Prefetch};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrays::named_output;
use crate::augment::Augment;
use crate::files::{Failure, Health};
use crate::logmel::LogMel;
use crate::run::{count, exception, without_gil, word};

/// The recordings of a training set and their log-mels.
#[pyclass(frozen, module = "asd._dsp")]
pub struct Corpus(Arc<corpus::Corpus>);

/// What a look at one recording found.
#[pyclass(frozen, get_all, module = "asd._dsp")]
pub struct Found {
    /// First sample of every window, at the detector's rate.
    starts: Vec<u64>,
    /// Frames T of every window.
    frames: usize,
    /// What the recording is like; None of a ready log-mel.
    health: Option<Py<Health>>,
    /// Sum of all values of its log-mels.
    sum: f64,
    /// Sum of their squares.
    squares: f64,
}

impl Found {
    fn new(py: Python<'_>, found: corpus::Found) -> PyResult<Self> {
        let corpus::Found { starts, frames, health, sum, squares } = found;
        let starts = starts.into_iter().map(|start| start as u64).collect();
        let health = health.map(|health| Py::new(py, Health::from(health))).transpose()?;
        Ok(Self { starts, frames, health, sum, squares })
    }
}

#[pymethods]
impl Corpus {
    /// Recordings, looked at through `front`. A path with a factor is a ready log-mel, which times the factor is a
    /// natural logarithm. At most `cache_bytes` of log-mels are kept, as float16 where `half`.
    #[new]
    #[allow(clippy::too_many_arguments)] // how recordings are read, and how much is kept
    fn new(
        front: &LogMel,
        paths: Vec<(PathBuf, Option<f64>)>,
        clip_samples: i64,
        channel: Option<i64>,
        allow_upsampling: bool,
        cache_bytes: i64,
        half: bool,
    ) -> PyResult<Self> {
        let options = front.options(clip_samples, channel, allow_upsampling)?;
        let keep = if half { Keep::Half } else { Keep::Float };
        let room = count("cache_bytes", cache_bytes)?;
        Ok(Self(Arc::new(corpus::Corpus::new(Arc::clone(&front.0), paths, options, keep, room))))
    }

    /// Looks at recordings `first` to `last` - 1, and keeps their log-mels: a Found or a Failure of each.
    fn survey<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        last: usize,
        threads: i64,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let threads = crate::run::threads(threads)?;
        let results = without_gil(py, |go_on| self.0.survey(first..last, threads, go_on))?;
        let entry = |(file, result)| match result {
            Ok(found) => Found::new(py, found)?.into_pyobject(py).map(Bound::into_any),
            Err(error) => Failure::new(&error, self.0.path(file)).into_pyobject(py).map(Bound::into_any),
        };
        (first as u32..).zip(results).map(entry).collect()
    }

    /// Bytes that may still be kept.
    fn room(&self) -> usize {
        self.0.room()
    }
}

/// The two arrays of a batch, lent to the feed's thread.
struct Buffers {
    index: usize,
    views: [*mut f32; VIEWS],
    values: usize,
    /// Keeps the memory.
    _arrays: [Py<PyAny>; VIEWS],
}

// SAFETY: the pointers lead to memory that `_arrays` keeps, which is not tied to a thread; Python objects may be sent.
unsafe impl Send for Buffers {}

impl Place for Buffers {
    fn views(&mut self) -> [&mut [f32]; VIEWS] {
        // SAFETY: `Feed::new` checked that each array is C-contiguous, writeable and of `values` values, and that no two
        // of all overlap; `_arrays` keeps them where they are. numpy's own borrows last only while the GIL is held,
        // so the rest is the caller's promise, in the docstring: nobody touches arrays that `take` has not just named.
        self.views.map(|view| unsafe { std::slice::from_raw_parts_mut(view, self.values) })
    }
}

/// Batches of two views, made ahead by a thread of its own.
#[pyclass(frozen, module = "asd._dsp")]
pub struct Feed {
    prefetch: Prefetch<Buffers>,
    /// What the caller has.
    taken: Mutex<Vec<Buffers>>,
}

#[pymethods]
impl Feed {
    /// Batches of windows of `corpus`: window i is the `index`-th `of` so many of recording `file`, and begins at
    /// sample `start`. `groups` has places of windows, `pattern` names groups. Each of `buffers` is a pair of float32
    /// arrays (B, F, T), which belong to the feed but for the time from one `take`, which names them, to the next.
    #[new]
    #[allow(clippy::too_many_arguments)] // what is drawn from, how, and where it goes
    fn new(
        corpus: &Corpus,
        augment: &Augment,
        windows: [PyReadonlyArray1<'_, i64>; 4],
        groups: Vec<PyReadonlyArray1<'_, i64>>,
        pattern: Vec<usize>,
        seed: &Bound<'_, PyAny>,
        position: &Bound<'_, PyAny>,
        ranks: (usize, usize),
        normalise: (f64, f64, bool),
        threads: i64,
        buffers: Vec<[Bound<'_, PyAny>; VIEWS]>,
    ) -> PyResult<Self> {
        let (seed, position) = (word("seed", seed)?, word("position", position)?);
        let windows = read_windows(&windows)?;
        let clips = |group: &PyReadonlyArray1<'_, i64>| -> PyResult<Vec<u32>> {
            group.as_slice()?.iter().map(|&clip| count("groups", clip)).collect()
        };
        let groups = groups.iter().map(clips).collect::<PyResult<_>>()?;
        let order = Order::new(seed, groups, &pattern).map_err(exception)?;
        let (rank, world) = ranks;
        let (mean, std, post_normalise) = normalise;
        let lent = lend(&buffers, augment.size())?;
        let batch = lent.first().map_or(0, |buffers| buffers.values / augment.values());
        let settings = Settings {
            seed,
            batch,
            global_batch: batch.saturating_mul(world),
            rank,
            mean: mean as f32,
            std: std as f32,
            post_normalise,
            threads: crate::run::threads(threads)?,
        };
        let augment = augment.0.clone();
        let feed = feed::Feed::new(Arc::clone(&corpus.0), windows, augment, order, settings);
        let prefetch = feed.and_then(|feed| Prefetch::start(feed, position)).map_err(exception)?;
        lent.into_iter().for_each(|buffers| prefetch.give(buffers));
        Ok(Self { prefetch, taken: Mutex::default() })
    }

    /// Waits for the next batch: which buffers hold it, the draw of its first row, and the window of every row. Those
    /// that were named before are the feed's again. DspError (reason, hint, path) where a file is to blame; the batch is tried again by the next call.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(usize, u64, Bound<'py, PyArray1<i64>>)> {
        // All that is out goes back: whatever interrupted the caller, none is ever missing.
        self.taken().drain(..).for_each(|buffers| self.prefetch.give(buffers));
        let (buffers, batch) = without_gil(py, |go_on| self.prefetch.take(go_on))?;
        match batch {
            Ok(batch) => {
                let index = buffers.index;
                self.taken().push(buffers);
                let windows = batch.windows.into_iter().map(i64::from);
                Ok((index, batch.position, PyArray1::from_iter(py, windows)))
            }
            Err(error) => {
                self.prefetch.give(buffers);
                Err(exception(error))
            }
        }
    }

    /// Goes on with the batch that begins at draw `draw`; batches made ahead are forgotten.
    fn seek(&self, py: Python<'_>, draw: &Bound<'_, PyAny>) -> PyResult<()> {
        let draw = word("draw", draw)?;
        py.detach(|| self.prefetch.seek(draw));
        Ok(())
    }

    /// Stops the threads, in the middle of a file if need be.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.prefetch.close());
    }
}

impl Feed {
    fn taken(&self) -> MutexGuard<'_, Vec<Buffers>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Recording, index, number and start of every window, side by side.
fn read_windows([files, indices, counts, starts]: &[PyReadonlyArray1<'_, i64>; 4]) -> PyResult<Vec<Window>> {
    let (files, indices) = (files.as_slice()?, indices.as_slice()?);
    let (counts, starts) = (counts.as_slice()?, starts.as_slice()?);
    if [indices.len(), counts.len(), starts.len()] != [files.len(); 3] {
        return Err(PyValueError::new_err("windows: expected four arrays of one length"));
    }
    let window = |i: usize| -> PyResult<Window> {
        Ok(Window {
            file: count("windows", files[i])?,
            index: count("windows", indices[i])?,
            of: count("windows", counts[i])?,
            start: count("windows", starts[i])?,
        })
    };
    (0..files.len()).map(window).collect()
}

/// Checks buffers, and takes pointers to them that outlast this call.
fn lend(buffers: &[[Bound<'_, PyAny>; VIEWS]], [bands, frames]: [usize; 2]) -> PyResult<Vec<Buffers>> {
    let clips = buffers.first().and_then(|[first, _]| first.len().ok()).unwrap_or(0);
    let values = clips * bands * frames;
    let mut lent = Vec::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    for (index, pair) in buffers.iter().enumerate() {
        let name = format!("buffers[{index}]");
        let mut views = [std::ptr::null_mut(); VIEWS];
        for (view, array) in views.iter_mut().zip(pair) {
            let mut out = named_output(&name, "another of them", array, [clips, bands, frames])?;
            *view = out.as_slice_mut()?.as_mut_ptr();
            let own = view.addr()..view.addr() + values * size_of::<f32>();
            // By address: numpy tells arrays apart by their owner, and two tensors may own the same memory.
            if taken.iter().any(|other| own.start < other.end && other.start < own.end) {
                let reason = format!("{name}: shares memory with another of them");
                return Err(PyValueError::new_err(reason));
            }
            taken.push(own);
        }
        let arrays = pair.each_ref().map(|array| array.clone().unbind());
        lent.push(Buffers { index, views, values, _arrays: arrays });
    }
    Ok(lent)
}
