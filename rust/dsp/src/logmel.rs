//! Samples -> log-mel: periodic Hann, centred frames with reflect padding, power 2, mel, ln(mel + eps).

use std::f64::consts::TAU;

use crate::error::{Error, Result};
use crate::fft::{self, Frames, PowerSpectrum};
use crate::mel::{FilterBank, MelScale, Slope};
use crate::pool;
pub use crate::simd::Sample;
use crate::simd::{Buffers, Isa, Kernel, MAX_LANES, Simd, Vector};
use crate::vecmath::ln;

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

/// Frames of a batch that take about as long as it takes to wake the threads: fewer are computed where they are.
const WORTH_THREADS: usize = 512;

/// Buffers of one thread; they grow on first use and serve any [`LogMel`].
#[derive(Default)]
pub struct Scratch {
    /// Frames that reach over the ends of the wave.
    edges: Buffers,
    spectrum: fft::Scratch,
}

/// A front end that is ready to run: window, transform and filters.
pub struct LogMel {
    spec: Spec,
    isa: Isa,
    bank: FilterBank,
    spectrum: PowerSpectrum,
    slopes: Vec<Slope>,
}

impl LogMel {
    /// Checks `spec` and builds window, transform and filters (in float64), for the best of the CPU's instructions.
    pub fn new(spec: Spec) -> Result<Self> {
        Self::with_isa(spec, Isa::choose(None)?)
    }

    /// The same for the instructions `isa`.
    pub fn with_isa(spec: Spec, isa: Isa) -> Result<Self> {
        spec.check()?;
        let Spec { sample_rate, n_fft, n_mels, f_min, f_max, mel_scale, .. } = spec;
        let bank = FilterBank::new(mel_scale, sample_rate, n_fft, n_mels, f_min, f_max);
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f64 / n_fft as f64).cos();
        let window: Vec<f64> = (0..n_fft).map(hann).collect();
        Ok(Self { spec, isa, spectrum: PowerSpectrum::new(&window), slopes: bank.slopes(), bank })
    }

    /// What this front end was built from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The instructions that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
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
        let finite = self.isa.run(Clip { front: self, wave, frames, scratch, out })
            && wave.iter().skip(covered).all(|s| s.to_f32().is_finite());
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
        let frames = self.frames(samples)?;
        let per_row = self.spec.n_mels * frames;
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
        let threads = if rows * frames < WORTH_THREADS { 1 } else { threads };
        pool::run_short(jobs, threads, job, go_on)
    }

    /// Frames `first .. first + count`, one a lane, reflected at the ends of the wave; other lanes repeat the last.
    fn group<'a, S: Sample>(
        &self,
        wave: &'a [S],
        edges: &'a mut Vec<S>,
        lanes: usize,
        first: usize,
        count: usize,
    ) -> Frames<'a, S> {
        let Spec { n_fft, hop_length, .. } = self.spec;
        let chained = 2 * hop_length == n_fft;
        let (samples, rows) = if chained { (n_fft / 2, count + 1) } else { (n_fft, count) };
        edges.resize(edges.len().max(rows * samples), wave[0]);
        let mut all = [&wave[..0]; MAX_LANES + 1];
        for ((row, edge), t) in all[..rows].iter_mut().zip(edges.chunks_exact_mut(samples)).zip(first..) {
            // Where the row begins in the wave; the first n_fft / 2 samples of frame 0 lie before it.
            let start = (t * hop_length) as isize - (n_fft / 2) as isize;
            let inside = usize::try_from(start).ok().and_then(|s| wave.get(s..s + samples));
            *row = inside.unwrap_or_else(|| reflected(wave, start, edge));
        }
        let last = all[rows - 1];
        all[rows..].fill(last);
        let mut frames = [last; MAX_LANES];
        frames.copy_from_slice(&all[..MAX_LANES]);
        if chained { Frames::Chained(frames, all[lanes]) } else { Frames::Apart(frames) }
    }

    /// Mel energies of `power` and their logarithm into the columns of `strip`. `finite` is 0 in every lane, and
    /// stays 0 as long as the energies are finite.
    #[inline(always)]
    fn filter<I: Simd>(&self, isa: I, power: &[I::V], finite: &mut I::V, strip: Strip<'_>) {
        let Strip { out, frames, first, count } = strip;
        let (zero, eps) = (isa.splat(0.0), isa.splat(self.spec.eps as f32));
        let mut bands = out.chunks_exact_mut(frames);
        let mut rising = zero;
        for (band, slope) in self.slopes.iter().enumerate() {
            let mut mel = std::mem::replace(&mut rising, zero);
            for (&[fall, rise], &p) in slope.weights.iter().zip(&power[slope.first..]) {
                mel = p.mul_add(isa.splat(fall), mel);
                rising = p.mul_add(isa.splat(rise), rising);
            }
            if band > 0
                && let Some(row) = bands.next()
            {
                *finite = mel.mul_add(zero, *finite);
                ln(isa, mel + eps).store(&mut row[first..first + count]);
                isa.prefetch(row.get(first + 2 * I::LANES - 1));
            }
        }
    }
}

/// Columns `first .. first + count` of a log-mel (F, T).
struct Strip<'a> {
    out: &'a mut [f32],
    frames: usize,
    first: usize,
    count: usize,
}

/// One wave on its way to a log-mel; says whether all of it is finite.
struct Clip<'a, S> {
    front: &'a LogMel,
    wave: &'a [S],
    frames: usize,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl<S: Sample> Kernel for Clip<'_, S> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) -> bool {
        let Self { front, wave, frames, scratch, out } = self;
        let edges = S::buffer(&mut scratch.edges);
        let hop = front.spec.hop_length;
        let mut finite = isa.splat(0.0);
        for first in (0..frames).step_by(I::LANES) {
            let count = I::LANES.min(frames - first);
            let group = front.group(wave, edges, I::LANES, first, count);
            let next = (first + I::LANES) * hop + front.spec.n_fft / 2;
            let ahead = &wave[next.min(wave.len())..(next + I::LANES * hop).min(wave.len())];
            let power = front.spectrum.power(isa, &group, ahead, &mut scratch.spectrum);
            // A NaN or an infinity among the samples reaches every bin; bin 0 may lie outside the filters.
            finite = power[0].mul_add(isa.splat(0.0), finite);
            front.filter(isa, power, &mut finite, Strip { out, frames, first, count });
        }
        let mut lanes = [0.0; MAX_LANES];
        finite.store(&mut lanes[..I::LANES]);
        lanes.iter().all(|&x| x == 0.0)
    }
}

/// `samples.len()` samples from `start` on, mirrored at the ends of the wave.
fn reflected<'a, S: Sample>(wave: &[S], start: isize, samples: &'a mut [S]) -> &'a [S] {
    let last = wave.len() as isize - 1;
    for (sample, i) in samples.iter_mut().zip(start..) {
        *sample = wave[(last - (last - i.abs()).abs()) as usize];
    }
    samples
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
