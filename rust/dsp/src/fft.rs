//! Power spectra of many frames at once: one SIMD lane is one frame.
//!
//! The N = 16 M samples of a frame, n = c + M q, are taken as M columns c of 16 samples q:
//!
//! 1. Every column, windowed, goes through a real transform of 16 points. Its output j = 1 .. 8, turned by
//!    e^(−2πi j c / N), becomes element c of row j; outputs 9 to 15 are conjugates and are left out. Outputs 0 and 8
//!    stay one butterfly short, as the sums u over the even and the odd q: these 2 M real values are row 0.
//! 2. Every row 1 .. 8 goes through a complex transform of M points, in place, which gives the bins j + 16 k of the
//!    spectrum; those above N / 2 are mirrored, as only the power is wanted. Row 0, read as M complex numbers
//!    u[2 i] + i u[2 i + 1], is the usual packing of a real transform of 2 M points, split at the end: bins 8 k.
//!
//! So nothing is computed twice or thrown away, and step 2 works on one row at a time, which stays in L1.

use std::f32::consts::FRAC_1_SQRT_2;
use std::f64::consts::TAU;
use std::ops::{Add, Sub};

use crate::simd::{Line, MAX_LANES, Sample, Simd, Vector};

/// Points of a column.
const COLUMN: usize = 16;
/// Rows that step 1 leaves.
const ROWS: usize = 8;
/// Unused vectors after each row: without, the elements of a column would share one set of the cache.
const GAP: usize = 2;
/// Cache lines asked for with every 8 points of step 2: about as many as the next group of frames has, for float32
/// and half a frame of overlap.
const AHEAD: usize = 10;

/// Window and Fourier transform of n_fft real samples; only the power is kept.
pub struct PowerSpectrum {
    n_fft: usize,
    columns: Vec<Column>,
    row: RowTransform,
    /// Which bin each place of the rows 1 .. 8 holds in the end.
    bins: Vec<u32>,
    /// −i e^(−πi k / M) / 2, k = 0 ..= M / 2: splits row 0.
    halves: Vec<Turn>,
}

/// Constants of column c.
struct Column {
    window: [f32; COLUMN],
    /// e^(−2πi j c / N), j = 1 .. 8.
    turns: [Turn; ROWS - 1],
}

/// A complex transform of M points by decimation in frequency: radix 8, and at last 8, 4 or 2.
struct RowTransform {
    /// Of every pass but the last, over blocks of L points: e^(−2πi r j / L) for j = 0 .. L / 8, r = 1 .. 8.
    passes: Vec<Vec<[Turn; 7]>>,
    last_radix: usize,
    /// Which output each place of the row holds in the end.
    outputs: Vec<usize>,
    /// Where output k lies, k = 0 ..= M; output M is output 0.
    places: Vec<usize>,
}

/// A factor of magnitude 1 (or ½): cos φ and sin φ.
#[derive(Clone, Copy)]
struct Turn {
    cos: f32,
    sin: f32,
}

impl Turn {
    /// size · e^(2πi share)
    fn new(size: f64, share: f64) -> Self {
        let (sin, cos) = (TAU * share).sin_cos();
        Self { cos: (size * cos) as f32, sin: (size * sin) as f32 }
    }
}

/// The samples of a group of frames, one frame a lane.
pub enum Frames<'a, S> {
    /// Row l is frame l: n_fft samples each.
    Apart([&'a [S]; MAX_LANES]),
    /// Frame l is row l followed by row l + 1, where the last row stands by itself: n_fft / 2 samples each.
    Chained([&'a [S]; MAX_LANES], &'a [S]),
}

/// Buffers of [`PowerSpectrum`]; they grow on first use and are kept.
#[derive(Default)]
pub struct Scratch {
    tile: Vec<Line>,
    rows: Vec<Line>,
    power: Vec<Line>,
}

/// The first `vectors` vectors of `lines`, which grow where they are too few.
#[inline(always)]
fn vectors<I: Simd>(isa: I, lines: &mut Vec<Line>, vectors: usize) -> &mut [I::V] {
    let count = (vectors * I::LANES).div_ceil(MAX_LANES);
    if lines.len() < count {
        lines.resize(count, Line::default());
    }
    &mut isa.vectors(lines)[..vectors]
}

/// `slice` cut into `N` parts of `size`.
#[inline(always)]
fn parts<T, const N: usize>(slice: &mut [T], size: usize) -> [&mut [T]; N] {
    let mut parts = slice.chunks_exact_mut(size);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

impl PowerSpectrum {
    /// Plans the transform of `window.len()` samples, a power of two from 256.
    pub fn new(window: &[f64]) -> Self {
        let n_fft = window.len();
        let m = n_fft / COLUMN;
        let column = |i: usize| Column {
            window: std::array::from_fn(|q| window[i + m * q] as f32),
            turns: std::array::from_fn(|j| Turn::new(1.0, -(((j + 1) * i) as f64) / n_fft as f64)),
        };
        let row = RowTransform::new(m);
        let bins = |j: usize| row.outputs.iter().map(move |k| j + COLUMN * k);
        Self {
            n_fft,
            columns: (0..m).map(column).collect(),
            bins: (1..ROWS).flat_map(bins).map(|bin| bin.min(n_fft - bin) as u32).collect(),
            row,
            halves: (0..=m / 2).map(|k| Turn::new(0.5, -0.25 - k as f64 / (2 * m) as f64)).collect(),
        }
    }

    /// `|X[k]|²` of every frame, k = 0 ..= n_fft / 2. The samples `ahead` are wanted next: they are fetched meanwhile.
    #[inline(always)]
    pub fn power<'s, I: Simd, S: Sample>(
        &self,
        isa: I,
        frames: &Frames<'_, S>,
        ahead: &[S],
        scratch: &'s mut Scratch,
    ) -> &'s [I::V] {
        let m = self.columns.len();
        let pitch = 2 * m + GAP;
        let tile = vectors(isa, &mut scratch.tile, COLUMN * I::LANES);
        let rows = vectors(isa, &mut scratch.rows, ROWS * pitch);
        let power = vectors(isa, &mut scratch.power, self.n_fft / 2 + 1);
        self.transform_columns(isa, frames, tile, rows);
        let (row, others) = rows.split_at_mut(pitch);
        self.finish_first(isa, &mut row[..2 * m], power);
        let mut ahead = ahead.chunks(size_of::<Line>() / size_of::<S>());
        for (bins, row) in self.bins.chunks_exact(m).zip(others.chunks_exact_mut(pitch)) {
            self.finish(isa, bins, &mut row[..2 * m], &mut ahead, power);
        }
        power
    }

    /// Step 1, as many columns at a time as a transposed tile has.
    #[inline(always)]
    fn transform_columns<I: Simd, S: Sample>(
        &self,
        isa: I,
        frames: &Frames<'_, S>,
        tile: &mut [I::V],
        rows: &mut [I::V],
    ) {
        let m = self.columns.len();
        let (lanes, stored, next) = match frames {
            Frames::Apart(lanes) => (lanes, COLUMN, None),
            Frames::Chained(lanes, next) => (lanes, COLUMN / 2, Some(*next)),
        };
        assert!(lanes.iter().chain(&next).all(|lane| lane.len() == stored * m));
        let lanes = lanes.map(<[S]>::as_ptr);
        let next = next.map(|next| -> [&[S]; COLUMN / 2] { std::array::from_fn(|q| &next[q * m..][..m]) });
        let tile = &mut tile[..COLUMN * I::LANES];
        let [first, others @ ..] = parts::<_, ROWS>(rows, rows.len() / ROWS);
        let (even, odd) = first[..2 * m].split_at_mut(m);
        let others = others.map(|row| &mut row.as_chunks_mut().0[..m]);
        for (block, columns) in self.columns.chunks_exact(I::LANES).enumerate() {
            let begin = block * I::LANES;
            for (q, part) in tile.chunks_exact_mut(I::LANES).take(stored).enumerate() {
                // SAFETY: a column lies below m, q below `stored`, and a lane has stored * m samples.
                unsafe { transpose(isa, &lanes, q * m + begin, part) };
            }
            for i in 0..I::LANES {
                let (column, at) = (&columns[i], begin + i);
                let mut x = [isa.splat(0.0); COLUMN];
                if let Some(next) = next {
                    for q in 0..COLUMN / 2 {
                        x[q] = tile[q * I::LANES + i];
                        x[q + COLUMN / 2] = x[q].shift_in(next[q][at].to_f32());
                    }
                } else {
                    for (q, x) in x.iter_mut().enumerate() {
                        *x = tile[q * I::LANES + i];
                    }
                }
                for (x, &w) in x.iter_mut().zip(&column.window) {
                    *x = *x * isa.splat(w);
                }
                let (even_sum, odd_sum, outputs) = real16(isa, x);
                even[at] = even_sum;
                odd[at] = odd_sum;
                for j in 0..ROWS - 1 {
                    let turned = outputs[j].turn(isa, &column.turns[j]);
                    others[j][at] = [turned.re, turned.im];
                }
            }
        }
    }

    /// Step 2 of a row 1 .. 8, whose places hold `bins` in the end.
    #[inline(always)]
    fn finish<I: Simd, S>(
        &self,
        isa: I,
        bins: &[u32],
        row: &mut [I::V],
        ahead: &mut std::slice::Chunks<S>,
        power: &mut [I::V],
    ) {
        let row = row.as_chunks_mut().0;
        self.row.passes(isa, row);
        for (points, bins) in row.as_chunks().0.iter().zip(bins.as_chunks::<8>().0) {
            let x = self.row.last(isa, points);
            for i in 0..8 {
                power[bins[i] as usize] = x[i].power();
            }
            for line in ahead.by_ref().take(AHEAD) {
                isa.prefetch(line.first());
            }
        }
    }

    /// Step 2 of row 0.
    #[inline(always)]
    fn finish_first<I: Simd>(&self, isa: I, row: &mut [I::V], power: &mut [I::V]) {
        let row = row.as_chunks_mut().0;
        self.row.passes(isa, row);
        for points in row.as_chunks_mut().0 {
            *points = self.row.last(isa, points).map(|x| [x.re, x.im]);
        }
        let places = &self.row.places;
        for (k, half) in self.halves.iter().enumerate() {
            let a = Complex::new(row[places[k]]);
            let b = Complex::new(row[places[places.len() - 1 - k]]);
            // Z[k] + conj Z[M − k], halved, is the transform of the even u, Z[k] − conj Z[M − k] that of the odd ones.
            let odd = Complex { re: a.re - b.re, im: a.im + b.im }.turn(isa, half);
            let even = Complex { re: a.re + b.re, im: a.im - b.im }.scale(isa.splat(0.5));
            power[ROWS * k] = (even + odd).power();
            power[self.n_fft / 2 - ROWS * k] = (even - odd).power(); // of its conjugate
        }
    }
}

impl RowTransform {
    fn new(m: usize) -> Self {
        let (mut passes, mut outputs, mut points) = (Vec::new(), vec![0; m], m);
        while points > 8 {
            let turn = |j: usize, r: usize| Turn::new(1.0, -((r * j) as f64) / points as f64);
            passes.push((0..points / 8).map(|j| std::array::from_fn(|r| turn(j, r + 1))).collect());
            for (place, output) in outputs.iter_mut().enumerate() {
                *output += m / points * (place % points / (points / 8));
            }
            points /= 8;
        }
        for (place, output) in outputs.iter_mut().enumerate() {
            *output += m / points * (place % points);
        }
        let mut places = vec![0; m + 1];
        for (place, &output) in outputs.iter().enumerate() {
            places[output] = place;
        }
        places[m] = places[0];
        Self { passes, last_radix: points, outputs, places }
    }

    /// All passes but the last.
    #[inline(always)]
    fn passes<I: Simd>(&self, isa: I, row: &mut [[I::V; 2]]) {
        for turns in &self.passes {
            let step = turns.len();
            for block in row.chunks_exact_mut(8 * step) {
                let parts = parts::<_, 8>(block, step);
                for (j, turns) in turns.iter().enumerate() {
                    let mut x = [Complex::new(parts[0][j]); 8];
                    for r in 1..8 {
                        x[r] = Complex::new(parts[r][j]);
                    }
                    let x = dft8(isa, x);
                    parts[0][j] = [x[0].re, x[0].im];
                    for r in 1..8 {
                        let turned = x[r].turn(isa, &turns[r - 1]);
                        parts[r][j] = [turned.re, turned.im];
                    }
                }
            }
        }
    }

    /// The last pass of 8 points: one transform of 8, two of 4 or four of 2.
    #[inline(always)]
    fn last<I: Simd>(&self, isa: I, points: &[[I::V; 2]; 8]) -> [Complex<I::V>; 8] {
        let [a, b, c, d, e, f, g, h] = points.map(Complex::new);
        match self.last_radix {
            8 => dft8(isa, [a, b, c, d, e, f, g, h]),
            4 => {
                let ([a, b, c, d], [e, f, g, h]) = (dft4([a, b, c, d]), dft4([e, f, g, h]));
                [a, b, c, d, e, f, g, h]
            }
            _ => [a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h],
        }
    }
}

/// Samples `at .. at + LANES` of every lane: vector i of `tile` becomes sample at + i.
///
/// # Safety
/// Each of the first `LANES` lanes has `at + LANES` samples or more.
#[inline(always)]
unsafe fn transpose<I: Simd, S: Sample>(isa: I, lanes: &[*const S; MAX_LANES], at: usize, tile: &mut [I::V]) {
    for (four, columns) in tile.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let at = at + 4 * four;
        // SAFETY: `tile` has LANES vectors, so that at + 4 is no more than what the caller promises.
        let quads = unsafe {
            [
                S::quads(isa, lanes, 0, at),
                S::quads(isa, lanes, 1, at),
                S::quads(isa, lanes, 2, at),
                S::quads(isa, lanes, 3, at),
            ]
        };
        *columns = I::V::transpose_fours(quads);
    }
}

#[derive(Clone, Copy)]
struct Complex<V> {
    re: V,
    im: V,
}

impl<V: Vector> Complex<V> {
    #[inline(always)]
    fn new([re, im]: [V; 2]) -> Self {
        Self { re, im }
    }

    /// self · w
    #[inline(always)]
    fn turn<I: Simd<V = V>>(self, isa: I, w: &Turn) -> Self {
        let (cos, sin) = (isa.splat(w.cos), isa.splat(w.sin));
        Self { re: self.im.neg_mul_add(sin, self.re * cos), im: self.im.mul_add(cos, self.re * sin) }
    }

    #[inline(always)]
    fn scale(self, size: V) -> Self {
        Self { re: self.re * size, im: self.im * size }
    }

    /// self − i d
    #[inline(always)]
    fn minus_i(self, d: Self) -> Self {
        Self { re: self.re + d.im, im: self.im - d.re }
    }

    /// self + i d
    #[inline(always)]
    fn plus_i(self, d: Self) -> Self {
        Self { re: self.re - d.im, im: self.im + d.re }
    }

    #[inline(always)]
    fn power(self) -> V {
        self.re.mul_add(self.re, self.im * self.im)
    }
}

impl<V: Vector> Add for Complex<V> {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self { re: self.re + b.re, im: self.im + b.im }
    }
}

impl<V: Vector> Sub for Complex<V> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self { re: self.re - b.re, im: self.im - b.im }
    }
}

#[inline(always)]
fn dft4<V: Vector>([a, b, c, d]: [Complex<V>; 4]) -> [Complex<V>; 4] {
    let (even, odd) = (a + c, b + d);
    let (p, q) = (a - c, b - d);
    [even + odd, p.minus_i(q), even - odd, p.plus_i(q)]
}

#[inline(always)]
fn dft8<I: Simd>(isa: I, x: [Complex<I::V>; 8]) -> [Complex<I::V>; 8] {
    let [y0, y2, y4, y6] = dft4([x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]]);
    let [a, b, c, d] = [x[0] - x[4], x[1] - x[5], x[2] - x[6], x[3] - x[7]];
    // The odd outputs are those of a, e^(−πi/4) b, −i c, e^(−3πi/4) d; √½ of two of them comes last.
    let b = Complex { re: b.re + b.im, im: b.im - b.re };
    let d = Complex { re: d.im - d.re, im: d.im + d.re };
    let (p, q) = (a.minus_i(c), a.plus_i(c));
    let sum = Complex { re: b.re + d.re, im: b.im - d.im };
    let difference = Complex { re: b.re - d.re, im: b.im + d.im };
    let s = isa.splat(FRAC_1_SQRT_2);
    let y1 = Complex { re: sum.re.mul_add(s, p.re), im: sum.im.mul_add(s, p.im) };
    let y5 = Complex { re: sum.re.neg_mul_add(s, p.re), im: sum.im.neg_mul_add(s, p.im) };
    let y3 = Complex { re: difference.im.mul_add(s, q.re), im: difference.re.neg_mul_add(s, q.im) };
    let y7 = Complex { re: difference.im.neg_mul_add(s, q.re), im: difference.re.mul_add(s, q.im) };
    [y0, y1, y2, y3, y4, y5, y6, y7]
}

/// Outputs of 8 real values: 0 and 4, which are real, and 1, 2, 3.
#[inline(always)]
fn real8<I: Simd>(isa: I, x: [I::V; 8]) -> (I::V, I::V, [Complex<I::V>; 3]) {
    let (even, odd) = ((x[0] + x[4]) + (x[2] + x[6]), (x[1] + x[5]) + (x[3] + x[7]));
    let second = Complex { re: (x[0] + x[4]) - (x[2] + x[6]), im: (x[3] + x[7]) - (x[1] + x[5]) };
    let (b, d) = (x[1] - x[5], x[3] - x[7]);
    let s = isa.splat(FRAC_1_SQRT_2);
    let (a, sum, difference) = (x[0] - x[4], b + d, b - d);
    let first = Complex { re: difference.mul_add(s, a), im: sum.neg_mul_add(s, x[6] - x[2]) };
    let third = Complex { re: difference.neg_mul_add(s, a), im: sum.neg_mul_add(s, x[2] - x[6]) };
    (even + odd, even - odd, [first, second, third])
}

/// Outputs of 16 real values: the sums over even and odd (output 0 and 8 are their sum and difference), and 1 to 7.
#[inline(always)]
fn real16<I: Simd>(isa: I, x: [I::V; 16]) -> (I::V, I::V, [Complex<I::V>; 7]) {
    const COS_22: f32 = 0.923_879_5; // cos π / 8
    const SIN_22: f32 = 0.382_683_43;
    let (even_sum, even4, even) = real8(isa, [x[0], x[2], x[4], x[6], x[8], x[10], x[12], x[14]]);
    let (odd_sum, odd4, odd) = real8(isa, [x[1], x[3], x[5], x[7], x[9], x[11], x[13], x[15]]);
    let turned = [
        odd[0].turn(isa, &Turn { cos: COS_22, sin: -SIN_22 }),
        odd[1].turn(isa, &Turn { cos: FRAC_1_SQRT_2, sin: -FRAC_1_SQRT_2 }),
        odd[2].turn(isa, &Turn { cos: SIN_22, sin: -COS_22 }),
    ];
    let y = |k: usize| even[k] + turned[k];
    let mirrored = |k: usize| Complex { re: even[k].re - turned[k].re, im: turned[k].im - even[k].im };
    let fourth = Complex { re: even4, im: isa.splat(0.0) - odd4 };
    (even_sum, odd_sum, [y(0), y(1), y(2), fourth, mirrored(2), mirrored(1), mirrored(0)])
}
