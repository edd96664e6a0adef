//! `asd._dsp`: the door between Python and `asd-dsp`.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _dsp(_m: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
