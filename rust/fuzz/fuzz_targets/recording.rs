#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = format!("/dev/shm/asd-fuzz-{}", std::process::id());
    asd_fuzz::checks::recording(bytes, Path::new(&path));
    std::fs::remove_file(path).ok();
});
