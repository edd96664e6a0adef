//! numpy arrays at the door: what does not fit is a `ValueError` that names the argument.

use numpy::{
    Element, Ix1, Ix2, Ix3, PyArray, PyArrayMethods, PyReadonlyArray, PyReadwriteArray, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A batch of waves (B, N), as it is stored.
pub enum Waves<'py> {
    /// float32 samples.
    Float(PyReadonlyArray<'py, f32, Ix2>),
    /// int16 samples.
    Int(PyReadonlyArray<'py, i16, Ix2>),
}

impl<'py> Waves<'py> {
    /// Takes a C-contiguous float32 or int16 array of shape (B, N).
    pub fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        const EXPECTED: &str = "float32 or int16 of shape (B, N)";
        if let Ok(waves) = object.cast::<PyArray<i16, Ix2>>() {
            return readonly("waves", EXPECTED, waves).map(Self::Int);
        }
        match object.cast::<PyArray<f32, Ix2>>() {
            Ok(waves) => readonly("waves", EXPECTED, waves).map(Self::Float),
            Err(_) => Err(unexpected("waves", EXPECTED, object)),
        }
    }

    /// Clips B and samples N.
    pub fn shape(&self) -> [usize; 2] {
        let shape = match self {
            Self::Float(waves) => waves.shape(),
            Self::Int(waves) => waves.shape(),
        };
        [shape[0], shape[1]]
    }
}

/// Takes a C-contiguous float32 array of shape (N,).
pub fn wave<'py>(object: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray<'py, f32, Ix1>> {
    const EXPECTED: &str = "float32 of shape (N,)";
    match object.cast::<PyArray<f32, Ix1>>() {
        Ok(wave) => readonly("wave", EXPECTED, wave),
        Err(_) => Err(unexpected("wave", EXPECTED, object)),
    }
}

/// Takes a C-contiguous float32 array of shape (B, F, T) with the given F and T.
pub fn input<'py>(
    name: &str,
    [bands, frames]: [usize; 2],
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, f32, Ix3>> {
    let expected = format!("float32 of shape (_, {bands}, {frames})");
    match object.cast::<PyArray<f32, Ix3>>() {
        Ok(array) if array.shape()[1..] == [bands, frames] => readonly(name, &expected, array),
        _ => Err(unexpected(name, &expected, object)),
    }
}

/// Takes `out`: a writeable C-contiguous float32 array of exactly this shape, which shares no memory with the waves.
pub fn output<'py>(
    object: &Bound<'py, PyAny>,
    shape: [usize; 3],
) -> PyResult<PyReadwriteArray<'py, f32, Ix3>> {
    named_output("out", "waves", object, shape)
}

/// Takes a writeable C-contiguous float32 array of exactly this shape, which shares no memory with `others`.
pub fn named_output<'py>(
    name: &str,
    others: &str,
    object: &Bound<'py, PyAny>,
    shape: [usize; 3],
) -> PyResult<PyReadwriteArray<'py, f32, Ix3>> {
    let expected = format!("float32 of shape {shape:?}");
    match object.cast::<PyArray<f32, Ix3>>() {
        Ok(out) if out.shape() == shape => {
            contiguous(name, &expected, out)?;
            out.try_readwrite().map_err(|error| {
                PyValueError::new_err(match error {
                    numpy::BorrowError::NotWriteable => format!("{name}: read-only"),
                    _ => format!("{name}: shares memory with {others}, or is in use by another thread"),
                })
            })
        }
        _ => Err(unexpected(name, &expected, object)),
    }
}

fn readonly<'py, T: Element, D: numpy::ndarray::Dimension>(
    name: &str,
    expected: &str,
    array: &Bound<'py, PyArray<T, D>>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    contiguous(name, expected, array)?;
    array
        .try_readonly()
        .map_err(|_| PyValueError::new_err(format!("{name}: being written to by another thread")))
}

fn contiguous<T: Element, D: numpy::ndarray::Dimension>(
    name: &str,
    expected: &str,
    array: &Bound<'_, PyArray<T, D>>,
) -> PyResult<()> {
    if array.is_c_contiguous() && array.is_aligned() {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name}: expected C-contiguous {expected}, got strides {:?}; numpy.ascontiguousarray copies it",
        array.strides()
    )))
}

fn unexpected(name: &str, expected: &str, got: &Bound<'_, PyAny>) -> PyErr {
    let got = match got.cast::<PyUntypedArray>() {
        Ok(array) => format!("{} of shape {:?}", array.dtype(), array.shape()),
        Err(_) => got.get_type().name().map_or_else(|_| "something else".to_owned(), |n| n.to_string()),
    };
    PyValueError::new_err(format!("{name}: expected {expected}, got {got}"))
}
