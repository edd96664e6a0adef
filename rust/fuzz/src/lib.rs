//! What the fuzz targets share.

pub mod checks;
mod memory;

use std::panic;

/// Lets panics of the FLAC library through to the decoder, which turns them into an error; all others are finds.
pub fn prepare() {
    let report_and_abort = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|place| place.file().contains("symphonia")) {
            report_and_abort(info);
        }
    }));
}
