//! One polyphase filter: any ratio L / M of rates, a windowed sinc, linear phase.
//!
//! Small L: a table with a row for each phase, and each SIMD lane computes a stretch of the output of its own. Large L
//! (44,099 Hz -> 16 kHz): rows at evenly spaced phases, and each output blends the results of the two rows around its
//! own. The window is Kaiser's, the design in float64. The signal counts as zero before its first and after its last
//! sample.

use std::f64::consts::PI;
use std::iter;

use crate::pool;
use crate::simd::{Isa, Kernel, Line, MAX_LANES, Simd, Vector};

/// Rows a period of the lower rate, where phases are blended: the error of linear interpolation,
/// (π / rows)² / 8, is then below -105 dB.
const BLENDED_ROWS: f64 = 512.0;

/// Most coefficients of a table with one row for each phase (1 MiB).
const MAX_EXACT: usize = 1 << 18;

/// Blended outputs between two looks at whether the caller wants to stop.
const ASK: usize = 4096;

/// Partial sums side by side of a blended output.
const LANES: usize = 8;

/// Blended outputs computed together, two sums each; of more the compiler no longer keeps the sums in registers.
const PAIRS: usize = 2;

/// Most neighbouring outputs that are computed together from the same input samples: as many sums as 32 registers
/// hold; 16 hold those of four.
const TOGETHER: usize = 8;

/// Vectors of such outputs.
const VECTORS: usize = 2;

/// Input samples between two lanes, about: few enough that the tile stays in the second-level cache.
const STRIDE: usize = 2048;

/// One filter for one ratio of rates.
pub(crate) struct Filter {
    /// L and M: output k lies at input position k·M / L.
    pub up: usize,
    pub down: usize,
    /// Coefficients of a row, a multiple of [`LANES`].
    pub taps: usize,
    /// Zeros before each row, and after it: [`TOGETHER`] neighbouring outputs begin that much apart at most.
    margin: usize,
    /// Rows between two neighbouring input samples.
    phases: usize,
    /// Whether outputs lie between rows; else each lies on one, and `phases` = L.
    blended: bool,
    /// `phases` rows, and one more (a whole input sample on) where outputs are blended.
    rows: Vec<f32>,
}

impl Filter {
    /// Designs the filter that passes frequencies below `pass` and stops those above `stop`, in cycles an input
    /// sample, by `decibels`.
    pub fn new(up: usize, down: usize, pass: f64, stop: f64, decibels: f64) -> Self {
        // Kaiser's rules for the length and for the shape.
        let taps = ((decibels - 7.95) / (14.36 * (stop - pass))).ceil() as usize;
        let taps = taps.next_multiple_of(LANES);
        let beta = 0.1102 * (decibels - 8.7);
        let blended = up * taps > MAX_EXACT;
        let phases = if blended { (BLENDED_ROWS * 2.0 * stop).ceil() as usize } else { up };
        let margin = if blended { 0 } else { ((TOGETHER - 1) * down).div_ceil(up) };
        let zeros = || iter::repeat_n(0.0, margin);
        let row = |row| design(taps, 0.5 * (pass + stop), beta, row as f64 / phases as f64);
        let rows = 0..phases + usize::from(blended);
        let rows = rows.flat_map(|i| zeros().chain(row(i)).chain(zeros())).collect();
        Self { up, down, taps, margin, phases, blended, rows }
    }

    /// Input samples before an output that it needs.
    pub fn before(&self) -> usize {
        self.taps / 2 - 1
    }

    /// The first `length` outputs of `wave` after so many `zeros`.
    pub fn apply(&self, isa: Isa, wave: &[f32], zeros: usize, length: usize) -> Vec<f32> {
        let mut out = vec![0.0; length];
        isa.run(Pass { filter: self, wave, zeros, out: &mut out });
        out
    }

    /// One row a phase. Each lane computes a stretch of the output, whole periods of L outputs from M input samples
    /// long, so that all lanes are at the same phase: a coefficient serves a vector of samples, one a lane.
    #[inline(always)]
    fn apply_exact<I: Simd, const G: usize>(&self, isa: I, wave: &[f32], zeros: usize, out: &mut [f32]) {
        let lanes = VECTORS * I::LANES;
        let periods = out.len().div_ceil(self.up).div_ceil(lanes);
        let periods = periods.div_ceil((periods * self.down).div_ceil(STRIDE)); // equal blocks
        let (stretch, stride) = (periods * self.up, periods * self.down);
        let reach = (stride + self.taps + self.margin).next_multiple_of(4);
        let (step, rest) = (self.down / self.up, self.down % self.up); // from one output to the next
        let more = ((G - 1) * self.down).div_ceil(self.up); // samples from the first to the last of G
        let mut padded = vec![0.0; (lanes - 1) * stride + reach];
        let mut tile = vec![Line::default(); (reach * lanes).div_ceil(MAX_LANES)];
        let tile = &mut isa.vectors(&mut tile)[..reach * VECTORS];
        for (block, out) in out.chunks_mut(lanes * stretch).enumerate() {
            if pool::check().is_err() {
                return; // nobody waits for the rest; whoever called asks too
            }
            interleave(isa, cut(wave, zeros, block * lanes * stride, &mut padded), stride, tile);
            let (mut at, mut phase) = (0, 0);
            for first in (0..stretch).step_by(G) {
                let start = at;
                let rows: [&[f32]; G] = std::array::from_fn(|_| {
                    let row = self.row(phase, at - start, more);
                    (at, phase) = (at + step, phase + rest);
                    if phase >= self.up {
                        (at, phase) = (at + 1, phase - self.up);
                    }
                    row
                });
                let sums = sums(isa, rows, &tile[start * VECTORS..]);
                // What lies beyond the stretch of a lane has the same bits as the next lane's.
                deinterleave::<I, G>(&sums, stretch, first, out);
            }
        }
    }

    /// Between two rows.
    #[inline(always)]
    fn apply_blended(&self, wave: &[f32], zeros: usize, out: &mut [f32]) {
        let mut padded = vec![0.0; wave.len() + self.taps];
        let padded = cut(wave, zeros, 0, &mut padded);
        for (block, out) in out.chunks_mut(PAIRS).enumerate() {
            if block % ASK == 0 && pool::check().is_err() {
                return;
            }
            // Outputs beyond the last repeat it.
            let last = out.len() - 1;
            let position = |i: usize| (block * PAIRS + i.min(last)) * self.down;
            let phase = |i: usize| position(i) % self.up * self.phases;
            let rows = std::array::from_fn(|i| self.row(phase(i / 2) / self.up + i % 2, 0, 0));
            let windows = std::array::from_fn(|i| &padded[position(i / 2) / self.up..][..self.taps]);
            let sums: [f32; 2 * PAIRS] = dots(rows, windows);
            for (i, (out, [before, after])) in out.iter_mut().zip(sums.as_chunks().0).enumerate() {
                let share = (phase(i) % self.up) as f32 / self.up as f32;
                *out = before + share * (after - before);
            }
        }
    }

    /// Coefficients for the input samples from `late` before the first that an output needs, and `more` than those.
    #[inline(always)]
    fn row(&self, row: usize, late: usize, more: usize) -> &[f32] {
        &self.rows[row * (self.taps + 2 * self.margin) + self.margin - late..][..self.taps + more]
    }
}

/// One signal on its way through a filter.
struct Pass<'a> {
    filter: &'a Filter,
    wave: &'a [f32],
    /// Zeros before it.
    zeros: usize,
    out: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, isa: I) {
        if self.filter.blended {
            self.filter.apply_blended(self.wave, self.zeros, self.out);
        } else if I::LANES == 16 {
            self.filter.apply_exact::<I, TOGETHER>(isa, self.wave, self.zeros, self.out); // it has registers for all
        } else {
            self.filter.apply_exact::<I, 4>(isa, self.wave, self.zeros, self.out);
        }
    }
}

/// Part of `wave`, before and after which are zeros: from `from` on, counted from `zeros` before its start, as long
/// as `padded`, which is filled where the part reaches over an end.
fn cut<'a>(wave: &'a [f32], zeros: usize, from: usize, padded: &'a mut [f32]) -> &'a [f32] {
    let inside = from.checked_sub(zeros).and_then(|from| wave.get(from..from + padded.len()));
    inside.unwrap_or_else(|| {
        let (start, rest) = padded.split_at_mut(zeros.saturating_sub(from));
        let wave = wave.get(from.saturating_sub(zeros)..).unwrap_or_default();
        let (signal, end) = rest.split_at_mut(wave.len().min(rest.len()));
        start.fill(0.0);
        signal.copy_from_slice(&wave[..signal.len()]);
        end.fill(0.0);
        padded
    })
}

/// Sample i of every lane into the i-th [`VECTORS`] of `tile`; a lane's samples begin `stride` after the last lane's.
#[inline(always)]
fn interleave<I: Simd>(isa: I, padded: &[f32], stride: usize, tile: &mut [I::V]) {
    for vector in 0..VECTORS {
        let lane =
            |i: usize| padded[(vector * I::LANES + i % I::LANES) * stride..][..tile.len() / VECTORS].as_ptr();
        let lanes = std::array::from_fn(lane);
        for (four, columns) in tile.as_chunks_mut::<{ 4 * VECTORS }>().0.iter_mut().enumerate() {
            // SAFETY: every lane has as many samples as `tile` has rows, of which this takes the next four.
            let quads = unsafe {
                [
                    isa.quads(&lanes, 0, 4 * four),
                    isa.quads(&lanes, 1, 4 * four),
                    isa.quads(&lanes, 2, 4 * four),
                    isa.quads(&lanes, 3, 4 * four),
                ]
            };
            let samples = I::V::transpose_fours(quads);
            for (to, samples) in columns.iter_mut().skip(vector).step_by(VECTORS).zip(samples) {
                *to = samples;
            }
        }
    }
}

/// Every row times the samples of every lane, summed in their order; rounded twice a term, so that no instruction
/// set differs.
#[inline(always)]
fn sums<I: Simd, const G: usize>(isa: I, rows: [&[f32]; G], tile: &[I::V]) -> [[I::V; VECTORS]; G] {
    let length = rows[0].len();
    let (rows, tile) = (rows.map(|row| &row[..length]), &tile.as_chunks::<VECTORS>().0[..length]);
    let mut sums = [[isa.splat(0.0); VECTORS]; G];
    for at in 0..length {
        for i in 0..G {
            let coefficient = isa.splat(rows[i][at]);
            for vector in 0..VECTORS {
                sums[i][vector] = sums[i][vector] + coefficient * tile[at][vector];
            }
        }
    }
    sums
}

/// Outputs `first` and following of every lane to their places.
#[inline(always)]
fn deinterleave<I: Simd, const G: usize>(
    sums: &[[I::V; VECTORS]; G],
    stretch: usize,
    first: usize,
    out: &mut [f32],
) {
    for (quad, [a, b, c, d]) in sums.as_chunks::<4>().0.iter().enumerate() {
        for vector in 0..VECTORS {
            let quads = I::V::transpose_fours([a[vector], b[vector], c[vector], d[vector]]);
            for (i, quads) in quads.into_iter().enumerate() {
                let mut values = [0.0; MAX_LANES];
                quads.store(&mut values);
                for (j, four) in values[..I::LANES].as_chunks::<4>().0.iter().enumerate() {
                    let lane = vector * I::LANES + 4 * j + i;
                    let to = out.get_mut(lane * stretch + first + 4 * quad..).unwrap_or_default();
                    match to.first_chunk_mut() {
                        Some(to) => *to = *four,
                        None => to.copy_from_slice(&four[..to.len()]),
                    }
                }
            }
        }
    }
}

/// One row: the filter at the input samples around an output that lies `fraction` of a sample after one.
///
/// Scaled to a sum of 1, so that a constant stays constant to the last bit of float32.
fn design(taps: usize, cutoff: f64, beta: f64, fraction: f64) -> impl Iterator<Item = f32> {
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
