#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| asd_fuzz::checks::wav(bytes));
