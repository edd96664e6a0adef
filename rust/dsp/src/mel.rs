//! Mel filterbank, built in float64 and kept as sparse rows.
//!
//! Triangles between points that are equidistant in mel. Slaney: the Auditory Toolbox's scale (linear below
//! 1 kHz, logarithmic above), each triangle of area 1; librosa's default. HTK: mel = 2595 log10(1 + Hz / 700),
//! each triangle of height 1; torchaudio's default.

use crate::error::{Error, Result};

/// Which mel scale, and with it which norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MelScale {
    /// Linear below 1 kHz, logarithmic above; triangles of area 1.
    Slaney,
    /// 2595 log10(1 + Hz / 700); triangles of height 1.
    Htk,
}

const SLANEY_HZ_PER_MEL: f64 = 200.0 / 3.0;
const SLANEY_KNEE_HZ: f64 = 1000.0;
const SLANEY_KNEE_MEL: f64 = SLANEY_KNEE_HZ / SLANEY_HZ_PER_MEL;

/// ln of the ratio of two frequencies one mel apart, above the knee: 27 mels for a factor of 6.4.
fn slaney_log_step() -> f64 {
    6.4_f64.ln() / 27.0
}

impl MelScale {
    /// Reads `slaney` or `htk`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "slaney" => Ok(Self::Slaney),
            "htk" => Ok(Self::Htk),
            _ => Err(Error::Argument(format!("mel_scale: expected \"slaney\" or \"htk\", got {name:?}"))),
        }
    }

    fn mel(self, hz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < SLANEY_KNEE_HZ => hz / SLANEY_HZ_PER_MEL,
            Self::Slaney => SLANEY_KNEE_MEL + (hz / SLANEY_KNEE_HZ).ln() / slaney_log_step(),
        }
    }

    fn hz(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10_f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < SLANEY_KNEE_MEL => mel * SLANEY_HZ_PER_MEL,
            Self::Slaney => SLANEY_KNEE_HZ * ((mel - SLANEY_KNEE_MEL) * slaney_log_step()).exp(),
        }
    }
}

/// The non-zero stretch of one filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Bin of `weights[0]`.
    pub first: usize,
    /// Weights of `first`, `first + 1`, ...; empty where the triangle lies between two bins.
    pub weights: Vec<f64>,
}

/// What lies between two neighbouring edges: every bin there feeds two bands, the one that falls and the one that
/// rises.
#[derive(Debug, Clone, PartialEq)]
pub struct Slope {
    /// Bin of `weights[0]`.
    pub first: usize,
    /// Weights in the falling band and in the rising one.
    pub weights: Vec<[f32; 2]>,
}

/// F triangles over the n_fft / 2 + 1 bins of a real Fourier transform.
#[derive(Debug, Clone)]
pub struct FilterBank {
    rows: Vec<Row>,
    edges: Vec<f64>,
    bins: usize,
    bin_hz: f64,
}

impl FilterBank {
    /// `n_mels` filters from `f_min` to `f_max` Hz for a transform of `n_fft` samples at `sample_rate` Hz.
    pub fn new(
        scale: MelScale,
        sample_rate: u32,
        n_fft: usize,
        n_mels: usize,
        f_min: f64,
        f_max: f64,
    ) -> Self {
        let (low, high) = (scale.mel(f_min), scale.mel(f_max));
        let step = (high - low) / (n_mels + 1) as f64;
        let edges: Vec<f64> = (0..n_mels + 2).map(|i| scale.hz(low + step * i as f64)).collect();
        let bins = n_fft / 2 + 1;
        let bin_hz = f64::from(sample_rate) / n_fft as f64;
        let rows = edges.windows(3).map(|e| triangle(scale, [e[0], e[1], e[2]], bins, bin_hz)).collect();
        Self { rows, edges, bins, bin_hz }
    }

    /// The filters, lowest first.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Centre of each band in Hz: where its triangle peaks.
    pub fn centres(&self) -> &[f64] {
        &self.edges[1..=self.rows.len()]
    }

    /// The same weights by slopes: band f rises over slope f and falls over slope f + 1, of F + 1.
    pub fn slopes(&self) -> Vec<Slope> {
        let weight = |band: Option<usize>, bin: usize| {
            let row = band.and_then(|band| self.rows.get(band));
            row.and_then(|row| row.weights.get(bin.checked_sub(row.first)?)).map_or(0.0, |&w| w as f32)
        };
        let start =
            |edge: f64| (0..self.bins).find(|&bin| bin as f64 * self.bin_hz > edge).unwrap_or(self.bins);
        let slope = |(rising, ends): (usize, &[f64])| {
            let bins = start(ends[0])..start(ends[1]);
            let weights = |bin| [weight(rising.checked_sub(1), bin), weight(Some(rising), bin)];
            Slope { first: bins.start, weights: bins.map(weights).collect() }
        };
        self.edges.windows(2).enumerate().map(slope).collect()
    }

    /// The same weights as a dense row-major (F, bins) matrix.
    pub fn dense(&self) -> Vec<f64> {
        let mut dense = vec![0.0; self.rows.len() * self.bins];
        for (row, out) in self.rows.iter().zip(dense.chunks_exact_mut(self.bins)) {
            out[row.first..row.first + row.weights.len()].copy_from_slice(&row.weights);
        }
        dense
    }
}

fn triangle(scale: MelScale, [left, centre, right]: [f64; 3], bins: usize, bin_hz: f64) -> Row {
    let norm = match scale {
        MelScale::Slaney => 2.0 / (right - left),
        MelScale::Htk => 1.0,
    };
    let weight = |bin: usize| {
        let hz = bin as f64 * bin_hz;
        norm * ((hz - left) / (centre - left)).min((right - hz) / (right - centre))
    };
    let first = (0..bins).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
    let weights = (first..bins).map(weight).take_while(|&w| w > 0.0).collect();
    Row { first, weights }
}
