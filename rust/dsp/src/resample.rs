//! Any sample rate -> any other: polyphase windowed sinc.

use crate::error::{Error, Result};

/// Resamples `wave` from `rate_in` to `rate_out` (Hz): sample k of the result is the signal at k / `rate_out`.
pub fn resample(wave: &[f32], rate_in: u32, rate_out: u32) -> Result<Vec<f32>> {
    let _ = (wave, rate_in, rate_out);
    Err(Error::Argument("not built yet".to_owned()))
}
