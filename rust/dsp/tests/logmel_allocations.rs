//! A warm scratch means no allocation a clip. Alone in its file: the counter sees the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use asd_dsp::logmel::{LogMel, Scratch, Spec};
use asd_dsp::mel::MelScale;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above with this `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_warm_scratch_allocates_nothing() {
    let spec = Spec {
        sample_rate: 16_000,
        n_fft: 1024,
        hop_length: 512,
        n_mels: 128,
        f_min: 0.0,
        f_max: 8000.0,
        mel_scale: MelScale::Slaney,
        eps: 1.192_092_9e-7,
    };
    let front = LogMel::new(spec).expect("the spec is legal");
    let wave = vec![0.25_f32; 160_000];
    let mut out = vec![0.0; 128 * 313];
    let mut scratch = Scratch::default();
    front.compute(&wave, &mut scratch, &mut out).expect("finite");
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..3 {
        front.compute(&wave, &mut scratch, &mut out).expect("finite");
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
