//! Running a kernel without the GIL, with Ctrl-C seen, and its errors as exceptions.

use std::sync::OnceLock;

use asd_dsp::error::Error;
use asd_dsp::pool;
use asd_dsp::simd::Isa;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

use crate::files::{DspError, Failure};

/// Threads that may run at once: CPU affinity and the cgroup's quota, at least 1.
#[pyfunction]
pub fn available_threads() -> usize {
    pool::available_threads()
}

/// The instruction set that log-mels and views are computed with: the best of this CPU, or what `$ASD_SIMD` says,
/// which is read once a process.
pub fn isa() -> PyResult<Isa> {
    static CHOSEN: OnceLock<Result<Isa, Error>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let wanted = std::env::var_os("ASD_SIMD").map(|value| value.to_string_lossy().into_owned());
        Isa::choose(wanted.as_deref())
    });
    chosen.clone().map_err(|error| PyValueError::new_err(format!("ASD_SIMD: {error}")))
}

/// The instruction set that log-mels and views are computed with: avx512, avx2, neon or scalar. ValueError for an
/// `$ASD_SIMD` that this CPU cannot do.
#[pyfunction]
pub fn simd() -> PyResult<&'static str> {
    isa().map(Isa::name)
}

/// Releases the GIL for `work`. `work` asks the closure that it is given now and then whether to go on; that
/// takes the GIL for a moment and runs Python's signal handlers, whose exception then ends the call.
pub fn without_gil<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        work(&mut || match Python::try_attach(|py| py.check_signals()) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                raised = Some(error);
                false
            }
            None => false, // the interpreter is shutting down
        })
    });
    match raised {
        Some(error) => Err(error),
        None => result.map_err(exception),
    }
}

/// What Python sees of an error: of one that a file is to blame for, DspError (reason, hint, path).
pub fn exception(error: Error) -> PyErr {
    match error {
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::File { path, error } => {
            let Failure { reason, hint } = Failure::new(&error, &path);
            DspError::new_err((reason, hint, path))
        }
        other => PyValueError::new_err(other.to_string()),
    }
}

/// A number of threads from Python, 1 to 1024.
pub fn threads(value: i64) -> PyResult<usize> {
    match value {
        1..=1024 => Ok(value as usize),
        _ => Err(PyValueError::new_err(format!("threads: expected 1 to 1024, got {value}"))),
    }
}

/// A whole number from Python that counts something.
pub fn count<T: TryFrom<i64>>(name: &str, value: i64) -> PyResult<T> {
    T::try_from(value).map_err(|_| PyValueError::new_err(format!("{name}: out of range: {value}")))
}

/// A whole number from Python that fits 64 bits without a sign.
pub fn word(name: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    value.extract().map_err(|_| {
        PyValueError::new_err(format!("{name}: expected a whole number from 0 to 2**64 - 1, got {value}"))
    })
}
