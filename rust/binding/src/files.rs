//! Files as Python sees them: their log-mels, their health, their samples, or why not.

use std::path::{Path, PathBuf};

use asd_dsp::error::Error;
use asd_dsp::extract::{self, Extract};
use asd_dsp::{recording, resample as resampler};
use numpy::ndarray::{Array1, Array2, Array3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;

use crate::arrays;
use crate::run::{count, exception, without_gil};

pyo3::create_exception!(
    asd._dsp,
    DspError,
    PyException,
    "A file cannot be read: args are (reason, hint), and in a feed also the path; the reason does not name the file."
);

/// What a recording is like, before resampling, on the channel that is read.
#[pyclass(frozen, get_all, module = "asd._dsp")]
pub struct Health {
    /// Sample rate of the file, Hz.
    rate: u32,
    /// Channels in the file.
    channels: usize,
    /// Length, seconds.
    seconds: f64,
    /// Largest magnitude; 1 is full scale.
    peak: f64,
    /// Root mean square; 1 is full scale.
    rms: f64,
    /// Share (0 to 1) of the samples at full scale.
    clipped: f64,
    /// The header promised more samples than the file holds.
    truncated: bool,
    /// Hash of the decoded samples: equal for equal sound.
    digest: u64,
}

impl From<recording::Health> for Health {
    fn from(health: recording::Health) -> Self {
        let recording::Health { rate, channels, seconds, peak, rms, clipped, truncated, digest } = health;
        Self { rate, channels, seconds, peak, rms, clipped, truncated, digest }
    }
}

/// The log-mels of one recording.
#[pyclass(frozen, get_all, module = "asd._dsp")]
pub struct Recording {
    /// float32 (W, F, T).
    logmel: Py<PyArray3<f32>>,
    /// Where each window starts, seconds, float64 (W,).
    starts: Py<PyArray1<f64>>,
    /// What the recording is like.
    health: Py<Health>,
}

impl Recording {
    /// Hands the memory of `extract` over to numpy.
    pub fn new(py: Python<'_>, extract: Extract, n_mels: usize) -> PyResult<Bound<'_, Self>> {
        let Extract { logmel, frames, starts, health } = extract;
        let logmel = Array3::from_shape_vec((starts.len(), n_mels, frames), logmel).map_err(ours)?;
        let recording = Self {
            logmel: logmel.into_pyarray(py).unbind(),
            starts: Array1::from(starts).into_pyarray(py).unbind(),
            health: Py::new(py, Health::from(health))?,
        };
        Bound::new(py, recording)
    }
}

/// Why a file cannot be read.
#[pyclass(frozen, get_all, module = "asd._dsp")]
pub struct Failure {
    /// What is wrong, without the path.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    /// `error` of the file at `path`, in words.
    pub fn new(error: &Error, path: &Path) -> Self {
        Self { reason: error.to_string(), hint: error.hint(path) }
    }
}

/// Samples as stored, float32 (C, N), and their rate in Hz. DspError when the file cannot be read.
#[pyfunction]
pub fn read_audio(py: Python<'_>, path: PathBuf) -> PyResult<(Bound<'_, PyArray2<f32>>, u32)> {
    let decoded = without_gil(py, |go_on| match extract::decode(&path, go_on) {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        decoded => Ok(decoded),
    })?;
    let audio = decoded.map_err(|error| {
        let Failure { reason, hint } = Failure::new(&error, &path);
        DspError::new_err((reason, hint))
    })?;
    let shape = (audio.channels, audio.frames());
    let rate = audio.rate;
    let samples = Array2::from_shape_vec(shape, audio.samples).map_err(ours)?;
    Ok((samples.into_pyarray(py), rate))
}

/// Health of every file, in order, from decoding all of it; channel None is the mean of the channels.
#[pyfunction]
#[pyo3(signature = (paths, channel, threads))]
pub fn scan(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    channel: Option<i64>,
    threads: i64,
) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let threads = crate::run::threads(threads)?;
    let channel = channel.map(|c| count("channel", c)).transpose()?;
    let results = without_gil(py, |go_on| extract::scan(&paths, channel, threads, go_on))?;
    let entry = |(path, result): (&PathBuf, asd_dsp::error::Result<recording::Health>)| match result {
        Ok(health) => Health::from(health).into_pyobject(py).map(Bound::into_any),
        Err(error) => Failure::new(&error, path).into_pyobject(py).map(Bound::into_any),
    };
    paths.iter().zip(results).map(entry).collect()
}

/// A float32 wave (N,) at another rate.
#[pyfunction]
pub fn resample<'py>(
    py: Python<'py>,
    wave: &Bound<'py, PyAny>,
    rate_in: i64,
    rate_out: i64,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let (rate_in, rate_out) = (count("rate_in", rate_in)?, count("rate_out", rate_out)?);
    let wave = arrays::wave(wave)?;
    let wave = wave.as_slice()?;
    let out = py.detach(|| resampler::resample(wave, rate_in, rate_out)).map_err(exception)?;
    Ok(Array1::from(out).into_pyarray(py))
}

fn ours(error: numpy::ndarray::ShapeError) -> PyErr {
    PyRuntimeError::new_err(format!("asd._dsp: a shape of our own is wrong: {error}"))
}
