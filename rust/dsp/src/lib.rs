//! Log-mel front end: bytes -> samples -> 16 kHz -> windows -> log-mel, over one pool of threads.
//!
//! No Python, no environment, no standard output. Kernels take slices and return [`error::Result`].

pub mod audio;
pub mod augment;
pub mod corpus;
pub mod digest;
pub mod error;
pub mod extract;
pub mod feed;
pub mod fft;
pub mod flac;
pub mod logmel;
pub mod mel;
pub mod npy;
pub mod order;
mod polyphase;
pub mod pool;
pub mod prefetch;
pub mod recording;
pub mod resample;
pub mod rng;
pub mod simd;
pub mod vecmath;
pub mod view;
pub mod wav;
