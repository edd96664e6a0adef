//! `asd._dsp`: the door between Python and `asd-dsp`.
//!
//! What comes in is checked here (dtype, shape, strides, range: `ValueError` that names the argument); all work
//! runs without the GIL; results are written into the caller's memory or handed over without a copy.

mod arrays;
mod augment;
mod feed;
mod files;
mod logmel;
mod run;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _dsp {
    #[pymodule_export]
    use crate::augment::Augment;
    #[pymodule_export]
    use crate::feed::{Corpus, Feed, Found};
    #[pymodule_export]
    use crate::files::{DspError, Failure, Health, Recording, read_audio, resample, scan};
    #[pymodule_export]
    use crate::logmel::LogMel;
    #[pymodule_export]
    use crate::run::{available_threads, simd};
}
