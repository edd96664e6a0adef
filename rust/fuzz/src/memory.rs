//! A limit on memory: libFuzzer's own `-malloc_limit_mb` needs a sanitizer, and its `-rss_limit_mb` sees only pages
//! that are written to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes that may be allocated at once; more fails, and that is a find.
const LIMIT: usize = 512 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

struct Limited;

#[global_allocator]
static LIMITED: Limited = Limited;

impl Limited {
    /// Counts `size` bytes, if there is room for them.
    fn admits(&self, size: usize) -> bool {
        let admitted = HELD.fetch_add(size, Ordering::Relaxed) + size <= LIMIT;
        if !admitted {
            HELD.fetch_sub(size, Ordering::Relaxed);
        }
        admitted
    }
}

// SAFETY: every call goes to the system's allocator unchanged, or fails as it may.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.admits(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.admits(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above with this `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
