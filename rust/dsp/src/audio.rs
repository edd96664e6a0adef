//! Samples as a file stores them, and the choice of a decoder by the bytes themselves, never by the suffix.

/// Decoded samples, as stored: no resampling, no mixing.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Sample rate, Hz.
    pub rate: u32,
    /// Number of channels, at least 1.
    pub channels: usize,
    /// Planar: all samples of channel 0, then of channel 1, ...; integers are scaled by 2^-(bits - 1).
    pub samples: Vec<f32>,
    /// The header promised more samples than the file holds.
    pub truncated: bool,
}

impl Audio {
    /// Samples of each channel.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// The samples of one channel.
    ///
    /// # Panics
    /// When there is no such channel.
    #[must_use]
    pub fn channel(&self, index: usize) -> &[f32] {
        let frames = self.frames();
        &self.samples[index * frames..][..frames]
    }
}
