//! Any sample rate -> any other: polyphase windowed sinc, linear phase with its delay taken out.
//!
//! The ratio of the rates in lowest terms is L / M: output k lies at input position k·M / L, so it needs the
//! filter at one of L phases (`polyphase.rs`). Its pass band ends at 0.95 of the lower of the two
//! Nyquist frequencies; the stop band begins at that frequency itself, so nothing folds back. The signal counts
//! as zero before its first and after its last sample.
//!
//! A steep filter costs by its length, which is that of the transition band in time. So a rate far above the wanted
//! one is halved first, as often as that goes: the filter for it is short, as it only has to keep away what would
//! fold into the final band.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::polyphase::Filter;
use crate::pool;
use crate::simd::Isa;

/// Where the pass band ends, as a share of the lower Nyquist frequency.
const PASS: f64 = 0.95;

/// Attenuation that the windows are designed for, dB: 100, and a little more as Kaiser's rules are approximate; for
/// halving a rate so much more that it adds nothing.
const STOP_DB: f64 = 101.0;
const HALVING_DB: f64 = 120.0;

/// From this ratio of the rates on, the rate is halved first.
const HALVED: f64 = 2.25;

/// Largest ratio of two rates; beyond it one of them is a mistake.
const MAX_RATIO: u32 = 256;

/// Resamples `wave` from `rate_in` to `rate_out` (Hz): sample k of the result is the signal at k / `rate_out`
/// seconds, and there are ceil(N · `rate_out` / `rate_in`) of them.
///
/// # Errors
/// [`Error::Argument`] for a rate of 0 and for rates more than 256-fold apart.
pub fn resample(wave: &[f32], rate_in: u32, rate_out: u32) -> Result<Vec<f32>> {
    if rate_in == rate_out && rate_in > 0 {
        return Ok(wave.to_vec());
    }
    let out = cached(rate_in, rate_out)?.apply(wave);
    pool::check()?;
    Ok(out)
}

/// The filters for one ratio of rates.
pub struct Resampler {
    /// Each halves the rate.
    halvings: Vec<Filter>,
    /// To the wanted rate.
    last: Filter,
}

impl Resampler {
    /// Designs the filters from `rate_in` to `rate_out`, Hz.
    ///
    /// # Errors
    /// [`Error::Argument`] for a rate of 0 and for rates more than 256-fold apart.
    pub fn new(rate_in: u32, rate_out: u32) -> Result<Self> {
        let (low, high) = (rate_in.min(rate_out), rate_in.max(rate_out));
        if low == 0 || high / MAX_RATIO > low {
            let reason =
                format!("cannot resample {rate_in} Hz to {rate_out} Hz: at most a factor of {MAX_RATIO}");
            return Err(Error::Argument(reason));
        }
        let (mut ratio, mut up) = (f64::from(rate_in) / f64::from(rate_out), rate_out);
        let mut halvings = Vec::new();
        while ratio >= HALVED {
            // The stop band begins where frequencies fold onto the edge of the last filter's.
            halvings.push(Filter::new(1, 2, 0.5 * PASS / ratio, 0.5 - 0.5 / ratio, HALVING_DB));
            (ratio, up) = (ratio / 2.0, up * 2);
        }
        let divisor = gcd(rate_in, up);
        let nyquist = 0.5 * (1.0 / ratio).min(1.0);
        let (up, down) = ((up / divisor) as usize, (rate_in / divisor) as usize);
        let last = Filter::new(up, down, PASS * nyquist, nyquist, STOP_DB);
        Ok(Self { halvings, last })
    }

    /// Resamples one signal, (N,) -> (ceil(N · `rate_out` / `rate_in`),); finite, it gives the same bits on every
    /// instruction set. Not-a-number spreads to its neighbours.
    #[must_use]
    pub fn apply(&self, wave: &[f32]) -> Vec<f32> {
        self.apply_on(Isa::available()[0], wave)
    }

    /// The same on the instructions `isa`.
    #[must_use]
    pub fn apply_on(&self, isa: Isa, wave: &[f32]) -> Vec<f32> {
        if wave.is_empty() {
            return Vec::new();
        }
        let length = (wave.len() * self.last.up).div_ceil(self.last.down << self.halvings.len());
        let (mut signal, mut start) = (Cow::Borrowed(wave), 0);
        for filter in &self.halvings {
            // A halved signal rings before its start and after its end.
            let ringing = filter.taps / 2;
            let length = signal.len().div_ceil(2) + 2 * ringing;
            let zeros = filter.before() + 2 * ringing - start;
            signal = Cow::Owned(filter.apply(isa, &signal, zeros, length));
            start = ringing;
        }
        self.last.apply(isa, &signal, self.last.before() - start, length)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The filters of the ratios met last: a table takes milliseconds to design, and recordings share a rate.
fn cached(rate_in: u32, rate_out: u32) -> Result<Arc<Resampler>> {
    const KEPT: usize = 16;
    type Kept = Vec<((u32, u32), Arc<Resampler>)>;
    static FILTERS: Mutex<Kept> = Mutex::new(Vec::new());

    let rates = (rate_in, rate_out);
    let mut filters = FILTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, filter)) = filters.iter().find(|(kept, _)| *kept == rates) {
        return Ok(Arc::clone(filter));
    }
    let filter = Arc::new(Resampler::new(rate_in, rate_out)?);
    if filters.len() == KEPT {
        filters.remove(0);
    }
    filters.push((rates, Arc::clone(&filter)));
    Ok(filter)
}
