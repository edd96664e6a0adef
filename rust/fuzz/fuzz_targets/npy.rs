#![no_main]

libfuzzer_sys::fuzz_target!(init: asd_fuzz::prepare(), |bytes: &[u8]| asd_fuzz::checks::npy(bytes));
