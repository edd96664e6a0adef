//! `LogMel`: the front end as Python sees it.

use asd_dsp::extract;
use asd_dsp::logmel::{self, Spec};
use asd_dsp::mel::MelScale;
use asd_dsp::recording::ReadOptions;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

use crate::arrays::{Waves, output};
use crate::files::{Failure, Recording};
use crate::run::{count, exception, isa, without_gil};

/// A log-mel front end: window, transform and filters, ready to run.
#[pyclass(frozen, module = "asd._dsp")]
pub struct LogMel(pub Arc<logmel::LogMel>);

#[pymethods]
impl LogMel {
    #[new]
    #[allow(clippy::too_many_arguments)] // the fields of FeatureSpec, one by one
    fn new(
        sample_rate: i64,
        n_fft: i64,
        hop_length: i64,
        n_mels: i64,
        f_min: f64,
        f_max: f64,
        mel_scale: &str,
        eps: f64,
    ) -> PyResult<Self> {
        let spec = Spec {
            sample_rate: count("sample_rate", sample_rate)?,
            n_fft: count("n_fft", n_fft)?,
            hop_length: count("hop_length", hop_length)?,
            n_mels: count("n_mels", n_mels)?,
            f_min,
            f_max,
            mel_scale: MelScale::parse(mel_scale).map_err(exception)?,
            eps,
        };
        logmel::LogMel::with_isa(spec, isa()?).map(|front| Self(Arc::new(front))).map_err(exception)
    }

    /// Frames T of a wave: 1 + samples // hop_length. ValueError up to n_fft / 2 samples.
    fn frames(&self, samples: i64) -> PyResult<usize> {
        self.0.frames(count("samples", samples)?).map_err(exception)
    }

    /// The mel filters, float64 (n_mels, n_fft // 2 + 1).
    fn filterbank<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let spec = self.0.spec();
        let shape = (spec.n_mels, spec.n_fft / 2 + 1);
        let bank = Array2::from_shape_vec(shape, self.0.bank().dense())
            .map_err(|e| pyo3::exceptions::PyRuntimeError::new_err(e.to_string()))?;
        Ok(bank.into_pyarray(py))
    }

    /// Where each band's triangle peaks, Hz, float64 (n_mels,).
    fn centres<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, self.0.bank().centres())
    }

    /// Log-mels of waves (B, N), float32 or int16, into out (B, F, T) float32.
    fn batch(
        &self,
        py: Python<'_>,
        waves: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        threads: i64,
    ) -> PyResult<()> {
        let threads = crate::run::threads(threads)?;
        let waves = Waves::new(waves)?;
        let [clips, samples] = waves.shape();
        let frames = self.0.frames(samples).map_err(exception)?;
        let mut out = output(out, [clips, self.0.spec().n_mels, frames])?;
        let out = out.as_slice_mut()?;
        match &waves {
            Waves::Float(waves) => {
                let waves = waves.as_slice()?;
                without_gil(py, |go_on| self.0.batch(waves, samples, out, threads, go_on))
            }
            Waves::Int(waves) => {
                let waves = waves.as_slice()?;
                without_gil(py, |go_on| self.0.batch(waves, samples, out, threads, go_on))
            }
        }
    }

    /// Log-mels of all windows of every file, in order; a file that cannot be read is a Failure in its place.
    fn read<'py>(
        &self,
        py: Python<'py>,
        paths: Vec<PathBuf>,
        clip_samples: i64,
        channel: Option<i64>,
        allow_upsampling: bool,
        threads: i64,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let threads = crate::run::threads(threads)?;
        let options = self.options(clip_samples, channel, allow_upsampling)?;
        let results = without_gil(py, |go_on| extract::read(&self.0, &paths, &options, threads, go_on))?;
        let entry = |(path, result): (&PathBuf, _)| match result {
            Ok(extract) => Recording::new(py, extract, self.0.spec().n_mels).map(|r| r.into_any()),
            Err(error) => Failure::new(&error, path).into_pyobject(py).map(Bound::into_any),
        };
        paths.iter().zip(results).map(entry).collect()
    }
}

impl LogMel {
    /// How recordings are read for this front end.
    pub fn options(
        &self,
        clip_samples: i64,
        channel: Option<i64>,
        allow_upsampling: bool,
    ) -> PyResult<ReadOptions> {
        let spec = self.0.spec();
        let clip_samples = count("clip_samples", clip_samples)?;
        self.0.frames(clip_samples).map_err(exception)?;
        Ok(ReadOptions {
            sample_rate: spec.sample_rate,
            n_fft: spec.n_fft,
            clip_samples,
            channel: channel.map(|c| count("channel", c)).transpose()?,
            allow_upsampling,
        })
    }
}
