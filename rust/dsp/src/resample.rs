//! Any sample rate -> any other: polyphase windowed sinc, linear phase with its delay taken out.
//!
//! The ratio of the rates in lowest terms is L / M: output k lies at input position k·M / L, so it needs the
//! filter at one of L phases. Small L: a table with a row for each phase. Large L (44,099 Hz -> 16 kHz): rows at
//! evenly spaced phases, and each output blends the results of the two rows around its own.
//!
//! The filter is a Kaiser-windowed sinc, designed in float64. Its pass band ends at 0.95 of the lower of the two
//! Nyquist frequencies; the stop band begins at that frequency itself, so nothing folds back. The signal counts
//! as zero before its first and after its last sample.

use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::pool;
use crate::simd::{Isa, Kernel, Simd};

/// Where the pass band ends, as a share of the lower Nyquist frequency.
const PASS: f64 = 0.95;

/// Attenuation that the window is designed for, dB.
const STOP_DB: f64 = 100.0;

/// Rows a period of the lower rate, where phases are blended: the error of linear interpolation,
/// (π / rows)² / 8, is then below -105 dB.
const BLENDED_ROWS: f64 = 512.0;

/// Most coefficients of a table with one row for each phase (1 MiB).
const MAX_EXACT: usize = 1 << 18;

/// Largest ratio of two rates; beyond it one of them is a mistake.
const MAX_RATIO: u32 = 256;

/// Blocks or outputs between two looks at whether the caller wants to stop.
const ASK: usize = 4096;

/// Partial sums side by side: what a vector register holds.
const LANES: usize = 8;

/// Inner products computed together, so that additions need not wait for each other; of more the compiler no longer
/// keeps the sums in registers.
const TOGETHER: usize = 4;

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

/// A filter for one ratio of rates.
pub struct Resampler {
    /// L and M: output k lies at input position k·M / L.
    up: usize,
    down: usize,
    /// Coefficients of a row, a multiple of [`LANES`].
    taps: usize,
    /// Rows between two neighbouring input samples.
    phases: usize,
    /// Whether outputs lie between rows; else each lies on one, and `phases` = L.
    blended: bool,
    /// `phases` rows, and one more (a whole input sample on) where outputs are blended.
    rows: Vec<f32>,
}

impl Resampler {
    /// Designs the filter from `rate_in` to `rate_out`, Hz.
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
        let divisor = gcd(rate_in, rate_out);
        let (up, down) = ((rate_out / divisor) as usize, (rate_in / divisor) as usize);
        let lower = f64::from(low) / f64::from(rate_in);
        // Kaiser's rule for the length; frequencies in cycles an input sample.
        let transition = 0.5 * (1.0 - PASS) * lower;
        let taps = ((STOP_DB - 7.95) / (14.36 * transition)).ceil() as usize;
        let taps = taps.next_multiple_of(LANES);
        let blended = up * taps > MAX_EXACT;
        let phases = if blended { (BLENDED_ROWS * lower).ceil() as usize } else { up };
        let cutoff = 0.25 * (1.0 + PASS) * lower;
        let rows = (0..phases + usize::from(blended))
            .flat_map(|row| design(taps, cutoff, row as f64 / phases as f64))
            .collect();
        Ok(Self { up, down, taps, phases, blended, rows })
    }

    /// Resamples one signal, (N,) -> (ceil(N·L / M),), the same bits on every instruction set. Not-a-number spreads
    /// to its neighbours.
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
        // Output at input position i: row · padded[i..i + taps].
        let mut padded = Vec::with_capacity(wave.len() + self.taps);
        padded.resize(self.taps / 2 - 1, 0.0);
        padded.extend_from_slice(wave);
        padded.resize(wave.len() + self.taps, 0.0);
        let mut out = vec![0.0; (wave.len() * self.up).div_ceil(self.down)];
        isa.run(Pass { filter: self, padded: &padded, out: &mut out });
        out
    }

    /// One row a phase. Outputs L apart share it, and lie M inputs apart.
    #[inline(always)]
    fn apply_exact(&self, padded: &[f32], out: &mut [f32]) {
        let (up, down) = (self.up, self.down);
        for (block, out) in out.chunks_mut(TOGETHER * up).enumerate() {
            if block % ASK == 0 && pool::check().is_err() {
                return; // nobody waits for the rest; whoever called asks too
            }
            let first = block * TOGETHER * down;
            for phase in 0..up.min(out.len()) {
                let row = self.row(phase * down % up);
                let at = |turn: usize| self.window(padded, first + turn * down + phase * down / up);
                if phase + (TOGETHER - 1) * up < out.len() {
                    let sums = dots([row; TOGETHER], std::array::from_fn(at));
                    for (turn, sum) in sums.into_iter().enumerate() {
                        out[phase + turn * up] = sum;
                    }
                } else {
                    for (turn, out) in out[phase..].iter_mut().step_by(up).enumerate() {
                        [*out] = dots([row], [at(turn)]);
                    }
                }
            }
        }
    }

    /// Between two rows.
    #[inline(always)]
    fn apply_blended(&self, padded: &[f32], out: &mut [f32]) {
        for (block, out) in out.chunks_mut(TOGETHER / 2).enumerate() {
            if block % ASK == 0 && pool::check().is_err() {
                return;
            }
            // Outputs beyond the last repeat it.
            let last = out.len() - 1;
            let position = |i: usize| (block * (TOGETHER / 2) + i.min(last)) * self.down;
            let phase = |i: usize| position(i) % self.up * self.phases;
            let rows = std::array::from_fn(|i| self.row(phase(i / 2) / self.up + i % 2));
            let windows = std::array::from_fn(|i| self.window(padded, position(i / 2) / self.up));
            let sums: [f32; TOGETHER] = dots(rows, windows);
            for (i, (out, [before, after])) in out.iter_mut().zip(sums.as_chunks().0).enumerate() {
                let share = (phase(i) % self.up) as f32 / self.up as f32;
                *out = before + share * (after - before);
            }
        }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.taps..][..self.taps]
    }

    #[inline(always)]
    fn window<'a>(&self, padded: &'a [f32], at: usize) -> &'a [f32] {
        &padded[at..at + self.taps]
    }
}

/// One signal on its way through a filter: plain loops, compiled for the instruction set at hand.
struct Pass<'a> {
    filter: &'a Resampler,
    padded: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, _isa: I) {
        if self.filter.blended {
            self.filter.apply_blended(self.padded, self.out);
        } else {
            self.filter.apply_exact(self.padded, self.out);
        }
    }
}

/// One row: the filter at the input samples around an output that lies `fraction` of a sample after one.
///
/// Scaled to a sum of 1, so that a constant stays constant to the last bit of float32.
fn design(taps: usize, cutoff: f64, fraction: f64) -> impl Iterator<Item = f32> {
    let beta = 0.1102 * (STOP_DB - 8.7);
    let half = (taps / 2) as f64;
    let row: Vec<f64> = (0..taps)
        .map(|tap| {
            let time = tap as f64 - (half - 1.0) - fraction;
            sinc(2.0 * cutoff * time) * bessel_i0(beta * (1.0 - (time / half).powi(2)).max(0.0).sqrt())
        })
        .collect();
    let sum: f64 = row.iter().sum();
    row.into_iter().map(move |value| (value / sum) as f32)
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-17 * sum {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// Partial sums of one inner product.
type Sums = [f32; LANES];

/// The inner products of `K` rows and `K` windows, all of one length; each has the same bits alone as among others.
#[inline(always)]
fn dots<const K: usize>(rows: [&[f32]; K], windows: [&[f32]; K]) -> [f32; K] {
    let length = rows[0].len() / LANES;
    let (rows, windows) = (rows.map(|row| &stripes(row)[..length]), windows.map(|w| &stripes(w)[..length]));
    let mut sums = [[0.0; LANES]; K];
    for stripe in 0..length {
        for k in 0..K {
            add_product(&mut sums[k], &rows[k][stripe], &windows[k][stripe]);
        }
    }
    sums.each_ref().map(total)
}

/// Never inlined: where the compiler sees four such sums side by side, it makes lanes out of windows and
/// shuffles its way through the loop before them, at three times the cost.
#[inline(never)]
fn total(sums: &Sums) -> f32 {
    sums.iter().sum()
}

#[inline(always)]
fn stripes(samples: &[f32]) -> &[Sums] {
    samples.as_chunks().0
}

#[inline(always)]
fn add_product(sums: &mut Sums, row: &Sums, window: &Sums) {
    for lane in 0..LANES {
        sums[lane] += row[lane] * window[lane];
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
