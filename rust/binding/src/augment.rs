//! `Augment`: the maker of views as Python sees it.

use asd_dsp::augment::{self, Batch, Recipe, VIEWS, high_bands};
use asd_dsp::view::{Crop, Domain, Shape};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{input, named_output};
use crate::run::{count, exception, isa, without_gil, word};

/// For every clip and view, how far back its partner lies (-1: none), its weight, and the crop.
type Draws<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray2<f32>>, Bound<'py, PyArray3<i64>>);

/// A maker of views of log-mels of one shape.
#[pyclass(frozen, module = "asd._dsp")]
pub struct Augment(pub augment::Augment);

#[pymethods]
impl Augment {
    #[new]
    #[allow(clippy::too_many_arguments)] // the settings of a recipe, one by one
    fn new(
        bands: i64,
        frames: i64,
        alpha: f64,
        crop: bool,
        bank_size: i64,
        eps: f64,
        raw: Option<(f64, f64)>,
        centres: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<Self> {
        let shape = Shape { bands: count("x", bands)?, frames: count("x", frames)? };
        let domain = match raw {
            None => Domain::Normalised,
            Some((mean, std)) => Domain::Raw { mean: mean as f32, std: std as f32 },
        };
        let ramp = match centres {
            None => None,
            Some(centres) if centres.len() == shape.bands => Some(high_bands(centres.as_slice()?)),
            Some(centres) => {
                let (got, bands) = (centres.len(), shape.bands);
                return Err(PyValueError::new_err(format!("spec: has {got} bands, and x has {bands}")));
            }
        };
        let recipe = Recipe { alpha, crop, bank_size: count("bank_size", bank_size)?, eps, domain, ramp };
        augment::Augment::new(isa()?, shape, recipe).map(Self).map_err(exception)
    }

    /// What is drawn for `clips` clips from `position` on, `history` of which came before the first: how far back
    /// the partner lies (-1: none) (B, 2), its weight (B, 2), and top, left, height and width of the crop (B, 2, 4).
    fn draws<'py>(
        &self,
        py: Python<'py>,
        seed: &Bound<'py, PyAny>,
        position: &Bound<'py, PyAny>,
        clips: i64,
        history: &Bound<'py, PyAny>,
    ) -> PyResult<Draws<'py>> {
        let (seed, position, history) =
            (word("seed", seed)?, word("position", position)?, word("history", history)?);
        let clips: u32 = count("clips", clips)?;
        let (mut back, mut weight, mut crop) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..u64::from(clips) {
            for view in 0..VIEWS as u32 {
                let draw = self.0.draw(seed, position.wrapping_add(row), view, history.saturating_add(row));
                back.push(draw.mix.map_or(-1, |(back, _)| i64::from(back)));
                weight.push(draw.mix.map_or(0.0, |(_, lambda)| lambda));
                let Crop { top, left, height, width } = draw.crop;
                crop.extend([top, left, height, width].map(|x| x as i64));
            }
        }
        let shape = (clips as usize, VIEWS);
        Ok((
            Array2::from_shape_vec(shape, back).map_err(ours)?.into_pyarray(py),
            Array2::from_shape_vec(shape, weight).map_err(ours)?.into_pyarray(py),
            Array3::from_shape_vec((shape.0, VIEWS, 4), crop).map_err(ours)?.into_pyarray(py),
        ))
    }

    /// The two views of every clip of x (B, F, T), after those of bank (K, F, T), into first and second (B, F, T).
    #[allow(clippy::too_many_arguments)] // input, output, and the place in the stream
    fn two_views(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        bank: &Bound<'_, PyAny>,
        first: &Bound<'_, PyAny>,
        second: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
        position: &Bound<'_, PyAny>,
        post_normalise: bool,
        threads: i64,
    ) -> PyResult<()> {
        let threads = crate::run::threads(threads)?;
        let (seed, position) = (word("seed", seed)?, word("position", position)?);
        let size = self.size();
        let (x, bank) = (input("x", size, x)?, input("bank", size, bank)?);
        let shape = [x.shape()[0], x.shape()[1], x.shape()[2]];
        let mut first = named_output("out[0]", "x, bank or out[1]", first, shape)?;
        let mut second = named_output("out[1]", "x, bank or out[0]", second, shape)?;
        let out = [first.as_slice_mut()?, second.as_slice_mut()?];
        let batch = Batch { clips: x.as_slice()?, bank: bank.as_slice()?, seed, position };
        without_gil(py, |go_on| self.0.two_views(&batch, out, post_normalise, threads, go_on))
    }

    /// x (B, F, T) mixed with z (B, F, T) by the weights lam (B, F), into out (B, F, T).
    fn log_mixup_exp(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        z: &Bound<'_, PyAny>,
        lam: &Bound<'_, PyArray2<f32>>,
        out: &Bound<'_, PyAny>,
        threads: i64,
    ) -> PyResult<()> {
        let threads = crate::run::threads(threads)?;
        let (x, z) = (input("x", self.size(), x)?, input("z", self.size(), z)?);
        let [clips, bands, frames] = [x.shape()[0], x.shape()[1], x.shape()[2]];
        if z.shape() != x.shape() {
            let (x, z) = (x.shape(), z.shape());
            return Err(PyValueError::new_err(format!("z: expected the shape of x, {x:?}, got {z:?}")));
        }
        if lam.shape() != [clips, bands] {
            let got = lam.shape();
            return Err(PyValueError::new_err(format!(
                "lam: expected shape [{clips}, {bands}], got {got:?}"
            )));
        }
        let mut out = named_output("out", "x or z", out, [clips, bands, frames])?;
        let lam = lam.readonly();
        let (x, z, lam, out) = (x.as_slice()?, z.as_slice()?, lam.as_slice()?, out.as_slice_mut()?);
        without_gil(py, |go_on| self.0.log_mixup_exp(x, z, lam, out, threads, go_on))
    }

    /// The crops (B, 4) of x (B, F, T) resized to (F, T), into out (B, F, T).
    fn random_resize_crop(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        crops: &Bound<'_, PyArray2<i64>>,
        out: &Bound<'_, PyAny>,
        threads: i64,
    ) -> PyResult<()> {
        let threads = crate::run::threads(threads)?;
        let x = input("x", self.size(), x)?;
        let shape = [x.shape()[0], x.shape()[1], x.shape()[2]];
        if crops.shape() != [shape[0], 4] {
            let (expected, got) = (shape[0], crops.shape());
            return Err(PyValueError::new_err(format!("crops: expected shape [{expected}, 4], got {got:?}")));
        }
        let crop = |c: &[i64]| -> PyResult<Crop> {
            Ok(Crop {
                top: count("top", c[0])?,
                left: count("left", c[1])?,
                height: count("height", c[2])?,
                width: count("width", c[3])?,
            })
        };
        let crops: Vec<Crop> =
            crops.readonly().as_slice()?.chunks_exact(4).map(crop).collect::<PyResult<_>>()?;
        let mut out = named_output("out", "x", out, shape)?;
        let (x, out) = (x.as_slice()?, out.as_slice_mut()?);
        without_gil(py, |go_on| self.0.random_resize_crop(x, &crops, out, threads, go_on))
    }
}

impl Augment {
    /// F and T.
    pub fn size(&self) -> [usize; 2] {
        let Shape { bands, frames } = self.0.shape();
        [bands, frames]
    }

    /// F · T.
    pub fn values(&self) -> usize {
        self.0.shape().values()
    }
}

fn ours(error: numpy::ndarray::ShapeError) -> PyErr {
    PyRuntimeError::new_err(format!("asd._dsp: a shape of our own is wrong: {error}"))
}
