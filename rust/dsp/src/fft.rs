//! Power spectra of frames, laid out so that one SIMD lane is one frame.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

/// Frames that go through the front end together.
pub const LANES: usize = 16;

/// One value of each of [`LANES`] frames, on a cache line of its own.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub struct Lanes(pub [f32; LANES]);

/// Real Fourier transform of `n_fft` samples; only the power is kept.
pub struct PowerSpectrum {
    plan: Arc<dyn RealToComplex<f32>>,
}

/// Buffers of [`PowerSpectrum`]; they grow on first use and are kept.
#[derive(Default)]
pub struct Scratch {
    spectrum: Vec<Complex32>,
    work: Vec<Complex32>,
}

impl PowerSpectrum {
    /// Plans the transform of `n_fft` real samples.
    pub fn new(n_fft: usize) -> Self {
        Self { plan: RealFftPlanner::new().plan_fft_forward(n_fft) }
    }

    /// Writes |X[k]|² of `frame` (n_fft samples, overwritten) into lane `lane` of `power[k]`, k = 0 ..= n_fft / 2.
    pub fn into_lane(&self, frame: &mut [f32], power: &mut [Lanes], lane: usize, scratch: &mut Scratch) {
        let Scratch { spectrum, work } = scratch;
        spectrum.resize(self.plan.complex_len(), Complex32::ZERO);
        work.resize(self.plan.get_scratch_len(), Complex32::ZERO);
        self.plan
            .process_with_scratch(frame, spectrum, work)
            .expect("frame, spectrum and work have the lengths that the plan asks for");
        for (lanes, bin) in power.iter_mut().zip(spectrum.iter()) {
            lanes.0[lane] = bin.norm_sqr();
        }
    }
}
