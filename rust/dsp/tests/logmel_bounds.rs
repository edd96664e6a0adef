//! The kernels neither read nor write outside of what they are given: beside it lie pages that may not be touched.
#![cfg(unix)]

use std::ptr;

use asd_dsp::logmel::{LogMel, Sample, Scratch, Spec};
use asd_dsp::mel::MelScale;
use asd_dsp::simd::Isa;

const PAGE: usize = 16_384; // a multiple of the page size of any machine

/// Memory between two forbidden pages.
struct Fenced {
    start: *mut u8,
    pages: usize,
}

impl Fenced {
    fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE);
        let (anonymous, access) =
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping, of which the pages between the first and the last become accessible.
        unsafe {
            let start = libc::mmap(ptr::null_mut(), (pages + 2) * PAGE, libc::PROT_NONE, anonymous, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let inside = start.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(inside.cast(), pages * PAGE, access), 0);
            Self { start: start.cast(), pages }
        }
    }

    /// `count` values at the very end, or at the very start.
    fn slice<T: Copy>(&mut self, count: usize, at_end: bool) -> &mut [T] {
        let bytes = count * size_of::<T>();
        assert!(bytes <= self.pages * PAGE);
        let skipped = if at_end { self.pages * PAGE - bytes } else { 0 };
        // SAFETY: the accessible pages are zero or written before, any bits are a number, and `&mut self` makes
        // the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(PAGE + skipped).cast(), count) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing refers to any more.
        unsafe { libc::munmap(self.start.cast(), (self.pages + 2) * PAGE) };
    }
}

fn stays_inside<S: Sample + std::fmt::Debug>(sample: impl Fn(usize) -> S) {
    for isa in Isa::available() {
        for (n_fft, hop_length) in
            [(256, 128), (256, 100), (512, 512), (1024, 512), (1024, 333), (4096, 2048)]
        {
            let spec = Spec {
                sample_rate: 16_000,
                n_fft,
                hop_length,
                n_mels: 40,
                f_min: 0.0,
                f_max: 8000.0,
                mel_scale: MelScale::Slaney,
                eps: 1e-7,
            };
            let front = LogMel::with_isa(spec, isa).expect("the spec is legal");
            for samples in
                [n_fft / 2 + 1, n_fft + 3, 15 * hop_length, 16 * hop_length + 1, 33 * hop_length + 7]
            {
                let samples = samples.max(n_fft / 2 + 1);
                let values = 40 * front.frames(samples).expect("long enough");
                let wave: Vec<S> = (0..samples).map(&sample).collect();
                let mut expected = vec![0.0; values];
                front.compute(&wave, &mut Scratch::default(), &mut expected).expect("finite");
                let (mut input, mut output) = (Fenced::new(size_of_val(&wave[..])), Fenced::new(4 * values));
                for at_end in [false, true] {
                    let fenced = input.slice(samples, at_end);
                    fenced.copy_from_slice(&wave);
                    let out = output.slice(values, at_end);
                    front.compute(fenced, &mut Scratch::default(), out).expect("finite");
                    assert_eq!(out, expected, "{isa:?} {n_fft} {hop_length} {samples}");
                }
            }
        }
    }
}

#[test]
fn float32_stays_inside() {
    stays_inside(|i| (i as f32 * 0.37).sin());
}

#[test]
fn int16_stays_inside() {
    stays_inside(|i| (i * 7919 % 65_536) as u16 as i16);
}
