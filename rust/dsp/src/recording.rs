//! A path -> the samples a detector hears: read, decode, choose the channel, look at its health, resample, cut.

use std::path::Path;

pub use crate::audio::Audio;
use crate::error::{Error, Result};

/// How a recording is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Rate of the samples that come back, Hz.
    pub sample_rate: u32,
    /// Fewest samples (after resampling) that can be analysed.
    pub n_fft: usize,
    /// Length of a window, samples at `sample_rate`.
    pub clip_samples: usize,
    /// The channel to read, from 0; `None` is the mean of all.
    pub channel: Option<usize>,
    /// Accept recordings whose rate lies below `sample_rate`.
    pub allow_upsampling: bool,
}

/// What a recording is like, before resampling, on the channel that is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Sample rate of the file, Hz.
    pub rate: u32,
    /// Channels in the file.
    pub channels: usize,
    /// Length, seconds.
    pub seconds: f64,
    /// Largest magnitude; 1 is full scale.
    pub peak: f64,
    /// Root mean square; 1 is full scale.
    pub rms: f64,
    /// Share (0 to 1) of the samples at full scale.
    pub clipped: f64,
    /// The header promised more samples than the file holds.
    pub truncated: bool,
    /// XXH64 of the decoded samples of all channels.
    pub digest: u64,
}

/// A recording at the detector's rate, and where its windows start.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Mono samples at [`ReadOptions::sample_rate`].
    pub samples: Vec<f32>,
    /// First sample of every window, ascending, at least one.
    pub starts: Vec<usize>,
    /// Length of every window, samples.
    pub clip: usize,
}

impl Windows {
    /// The windows, in order, `clip` samples each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.starts
            .iter()
            .map(|&start| &self.samples[start..start + self.clip])
    }
}

/// Reads, decodes, resamples and cuts one recording.
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Windows, Health)> {
    let _ = (path, options);
    Err(Error::Argument("not built yet".to_owned()))
}

/// Decodes one recording and says what it is like.
pub fn scan(path: &Path, channel: Option<usize>) -> Result<Health> {
    let _ = (path, channel);
    Err(Error::Argument("not built yet".to_owned()))
}

/// Decodes one recording as it is stored.
pub fn decode(path: &Path) -> Result<Audio> {
    let _ = path;
    Err(Error::Argument("not built yet".to_owned()))
}
