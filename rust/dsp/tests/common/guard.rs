//! Memory that ends the process when its neighbourhood is touched.
#![allow(clippy::unwrap_used)]

use std::ptr::{NonNull, null_mut};

/// float32 values that end right before a page that cannot be touched, or begin right behind one.
pub struct Guarded {
    base: NonNull<libc::c_void>,
    bytes: usize,
    first: NonNull<f32>,
    values: usize,
}

impl Guarded {
    /// `values` zeros, at the end of their memory or at its beginning.
    pub fn new(values: usize, at_end: bool) -> Self {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inner = (values * size_of::<f32>()).next_multiple_of(page);
        let bytes = inner + 2 * page;
        // SAFETY: a fresh mapping of its own, which nothing else knows.
        let base = unsafe {
            libc::mmap(null_mut(), bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(base, libc::MAP_FAILED);
        let base = NonNull::new(base).unwrap();
        // SAFETY: `page .. page + inner` lies within the mapping.
        let begin = unsafe { base.byte_add(page) };
        // SAFETY: as above; whole pages.
        let result = unsafe { libc::mprotect(begin.as_ptr(), inner, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(result, 0);
        let skipped = if at_end { inner - values * size_of::<f32>() } else { 0 };
        // SAFETY: still within the mapping.
        let first = unsafe { begin.byte_add(skipped) }.cast();
        Self { base, bytes, first, values }
    }

    /// The values.
    pub fn values(&mut self) -> &mut [f32] {
        // SAFETY: mapped, zeroed by the system, aligned to 4 bytes, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.values) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr(), self.bytes) };
    }
}
