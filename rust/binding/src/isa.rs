//! The instruction set that this process computes with.

use std::sync::OnceLock;

use asd_dsp::error::Result;
use asd_dsp::lanes::Isa;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The best of this CPU, or what `$ASD_SIMD` says; read once. ValueError for a name that this CPU has not.
pub fn chosen() -> PyResult<Isa> {
    static CHOSEN: OnceLock<Result<Isa>> = OnceLock::new();
    let choose = || Isa::choose(std::env::var("ASD_SIMD").ok().as_deref().filter(|name| !name.is_empty()));
    CHOSEN.get_or_init(choose).clone().map_err(|error| PyValueError::new_err(format!("ASD_SIMD: {error}")))
}
