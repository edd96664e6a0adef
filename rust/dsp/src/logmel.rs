//! Samples -> log-mel: periodic Hann, centred frames with reflect padding, power 2, mel, ln(mel + eps).

use std::f64::consts::TAU;

use crate::error::{Error, Result};
use crate::fft::{self, LANES, Lanes, PowerSpectrum};
use crate::mel::{FilterBank, MelScale};
use crate::pool;

/// What defines a log-mel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Hz.
    pub sample_rate: u32,
    /// Samples of a frame; a power of two.
    pub n_fft: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Mel bands F.
    pub n_mels: usize,
    /// Lower edge of the lowest band, Hz.
    pub f_min: f64,
    /// Upper edge of the highest band, Hz.
    pub f_max: f64,
    /// Scale and norm of the filters.
    pub mel_scale: MelScale,
    /// Added to the mel energies before the logarithm.
    pub eps: f64,
}

impl Spec {
    fn check(&self) -> Result<()> {
        let nyquist = f64::from(self.sample_rate) / 2.0;
        let wanted: [(bool, &str); 6] = [
            ((1_000..=192_000).contains(&self.sample_rate), "sample_rate: expected 1000 to 192000 Hz"),
            (
                (256..=4096).contains(&self.n_fft) && self.n_fft.is_power_of_two(),
                "n_fft: expected a power of two from 256 to 4096",
            ),
            ((1..=self.n_fft).contains(&self.hop_length), "hop_length: expected 1 to n_fft"),
            ((1..=512).contains(&self.n_mels), "n_mels: expected 1 to 512"),
            (
                0.0 <= self.f_min && self.f_min < self.f_max && self.f_max <= nyquist,
                "f_min, f_max: expected 0 <= f_min < f_max <= sample_rate / 2",
            ),
            (
                self.eps >= f64::from(f32::MIN_POSITIVE) && self.eps <= 1.0,
                "eps: expected 1.2e-38 (the smallest normal float32) to 1",
            ),
        ];
        match wanted.iter().find(|(holds, _)| !holds) {
            Some((_, message)) => Err(Error::Argument((*message).to_owned())),
            None => Ok(()),
        }
    }
}

/// A sample as stored; int16 is scaled by 1 / 32768.
pub trait Sample: Copy + Send + Sync {
    /// The sample in [-1, 1].
    fn to_f32(self) -> f32;
}

impl Sample for f32 {
    fn to_f32(self) -> f32 {
        self
    }
}

impl Sample for i16 {
    fn to_f32(self) -> f32 {
        f32::from(self) * (1.0 / 32_768.0)
    }
}

/// Buffers of one thread; they grow on first use and serve any [`LogMel`].
#[derive(Default)]
pub struct Scratch {
    frame: Vec<f32>,
    power: Vec<Lanes>,
    fft: fft::Scratch,
}

/// Filter `weights` of the bins from `first` on, as the kernel wants them.
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

/// A front end that is ready to run: window, transform and filters.
pub struct LogMel {
    spec: Spec,
    bank: FilterBank,
    window: Vec<f32>,
    spectrum: PowerSpectrum,
    filters: Vec<Filter>,
}

impl LogMel {
    /// Checks `spec` and builds window, transform and filters (in float64).
    pub fn new(spec: Spec) -> Result<Self> {
        spec.check()?;
        let Spec { sample_rate, n_fft, n_mels, f_min, f_max, mel_scale, .. } = spec;
        let bank = FilterBank::new(mel_scale, sample_rate, n_fft, n_mels, f_min, f_max);
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f64 / n_fft as f64).cos();
        let filters = bank
            .rows()
            .iter()
            .map(|row| Filter { first: row.first, weights: row.weights.iter().map(|&w| w as f32).collect() });
        Ok(Self {
            spec,
            window: (0..n_fft).map(|i| hann(i) as f32).collect(),
            spectrum: PowerSpectrum::new(n_fft),
            filters: filters.collect(),
            bank,
        })
    }

    /// What this front end was built from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The filters in float64.
    pub fn bank(&self) -> &FilterBank {
        &self.bank
    }

    /// Frames T of `samples` samples: 1 + samples / hop. Reflect padding needs more than n_fft / 2 samples.
    pub fn frames(&self, samples: usize) -> Result<usize> {
        let half = self.spec.n_fft / 2;
        if samples <= half {
            return Err(Error::Argument(format!(
                "waves: {samples} samples are too few: reflect padding of frames of {} needs more than {half}",
                self.spec.n_fft
            )));
        }
        Ok(1 + samples / self.spec.hop_length)
    }

    /// Log-mel of one wave into `out`, (F, T) row-major. [`Error::NonFinite`] has row 0.
    pub fn compute<S: Sample>(&self, wave: &[S], scratch: &mut Scratch, out: &mut [f32]) -> Result<()> {
        let frames = self.frames(wave.len())?;
        if out.len() != self.spec.n_mels * frames {
            return Err(Error::Argument(format!(
                "out: expected {} x {frames} values, got {}",
                self.spec.n_mels,
                out.len()
            )));
        }
        // With hop > n_fft / 2 the last frame may end before the wave does.
        let covered = (frames - 1) * self.spec.hop_length + self.spec.n_fft / 2;
        let mut finite = wave.iter().skip(covered).all(|s| s.to_f32().is_finite());
        for first in (0..frames).step_by(LANES) {
            let count = LANES.min(frames - first);
            self.transform(wave, first, count, scratch);
            finite &= self.filter(&scratch.power, out, frames, first, count);
        }
        if finite { Ok(()) } else { Err(not_finite(wave)) }
    }

    /// Log-mels of the rows of `waves` (B, N) into `out` (B, F, T), both row-major, on `threads` threads.
    ///
    /// The result does not depend on `threads`. `go_on` is asked about every 50 ms on the calling thread; its
    /// `false` ends the call with [`Error::Interrupted`]. After an error `out` is undefined.
    pub fn batch<S: Sample>(
        &self,
        waves: &[S],
        samples: usize,
        out: &mut [f32],
        threads: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let per_row = self.spec.n_mels * self.frames(samples)?;
        let rows = waves.len() / samples;
        if waves.len() != rows * samples || out.len() != rows * per_row {
            return Err(Error::Argument(format!(
                "out: expected {rows} x {per_row} values, got {}",
                out.len()
            )));
        }
        let jobs = waves.chunks_exact(samples).zip(out.chunks_exact_mut(per_row)).enumerate();
        let job = |(row, (wave, out)): (usize, (&[S], &mut [f32])), scratch: &mut pool::Scratch| {
            self.compute(wave, &mut scratch.logmel, out).map_err(|error| match error {
                Error::NonFinite { .. } => Error::NonFinite { row },
                Error::Argument(reason) => Error::Argument(format!("waves: row {row} {reason}")),
                other => other,
            })
        };
        if threads.min(rows) <= 1 {
            pool::run_here(jobs, job, go_on)
        } else {
            pool::run(jobs, threads, job, go_on)
        }
    }

    /// Power spectra of frames `first .. first + count`, one a lane.
    fn transform<S: Sample>(&self, wave: &[S], first: usize, count: usize, scratch: &mut Scratch) {
        let n_fft = self.spec.n_fft;
        let Scratch { frame, power, fft } = scratch;
        frame.resize(n_fft, 0.0);
        power.resize(n_fft / 2 + 1, Lanes::default());
        for lane in 0..count {
            // Where the frame begins in the wave; the first n_fft / 2 samples of frame 0 lie before it.
            let start = ((first + lane) * self.spec.hop_length) as isize - (n_fft / 2) as isize;
            self.cut(wave, start, frame);
            self.spectrum.into_lane(frame, power, lane, fft);
        }
    }

    /// The windowed frame that begins at `start`, reflected at the ends of the wave.
    fn cut<S: Sample>(&self, wave: &[S], start: isize, frame: &mut [f32]) {
        let n_fft = self.spec.n_fft;
        if let Some(inside) = usize::try_from(start).ok().and_then(|s| wave.get(s..s + n_fft)) {
            for ((x, &sample), &w) in frame.iter_mut().zip(inside).zip(&self.window) {
                *x = sample.to_f32() * w;
            }
            return;
        }
        let last = wave.len() as isize - 1;
        for ((x, i), &w) in frame.iter_mut().zip(start..).zip(&self.window) {
            let mirrored = last - (last - i.abs()).abs();
            *x = wave[mirrored as usize].to_f32() * w;
        }
    }

    /// Mel energies and their logarithm for `count` lanes; `false` where a value is not finite.
    fn filter(&self, power: &[Lanes], out: &mut [f32], frames: usize, first: usize, count: usize) -> bool {
        let eps = self.spec.eps as f32;
        // A NaN or an infinity among the samples reaches every bin; bin 0 may lie outside the filters.
        let mut finite = power[0].0[..count].iter().all(|p| p.is_finite());
        for (filter, row) in self.filters.iter().zip(out.chunks_exact_mut(frames)) {
            let mut mel = [0.0_f32; LANES];
            for (&w, bin) in filter.weights.iter().zip(&power[filter.first..]) {
                for (m, p) in mel.iter_mut().zip(&bin.0) {
                    *m += w * p;
                }
            }
            let log = mel.map(|m| ln(m + eps));
            finite &= mel[..count].iter().all(|m| m.is_finite());
            row[first..first + count].copy_from_slice(&log[..count]);
        }
        finite
    }
}

fn not_finite<S: Sample>(wave: &[S]) -> Error {
    if wave.iter().all(|s| s.to_f32().is_finite()) {
        Error::Argument(
            "has samples so large that their power overflows; samples belong in [-1, 1]".to_owned(),
        )
    } else {
        Error::NonFinite { row: 0 }
    }
}

/// Natural logarithm of a positive normal float32, within 1 ulp or so, without branches so that it vectorises.
///
/// x = 2^e · m with m in [√½, √2); ln m = 2 artanh(s), s = (m − 1) / (m + 1), |s| < 0.172, by its series to s⁹
/// (the rest is below 1e-9).
fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    const LN2_HIGH: f32 = 0.693_359_4; // 9 bits: e times it is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let e = (x.to_bits().wrapping_sub(SQRT_HALF) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((e << 23) as u32));
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = s2 * (2.0 / 3.0 + s2 * (2.0 / 5.0 + s2 * (2.0 / 7.0 + s2 * (2.0 / 9.0))));
    let e = e as f32;
    e * LN2_HIGH + (e * LN2_LOW + (2.0 * s + s * series))
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn ln_matches_float64_over_all_exponents() {
        let mut worst = 0.0_f64;
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::MAX.to_bits()).step_by(4_999) {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - exact).abs() / exact.abs().max(1.0));
        }
        assert!(worst < 1.5e-7, "worst error {worst:e}");
    }
}
