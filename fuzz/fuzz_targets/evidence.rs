#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| inclavared_fuzz::evidence(bytes));
