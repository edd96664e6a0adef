//! Log-mel front end: bytes -> samples -> 16 kHz -> windows -> log-mel, over one pool of threads.
//!
//! No Python, no environment, no standard output. Kernels take slices and return [`error::Result`].

pub mod error;
