//! Every configuration, every event, every failure.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipe_differential::fuzz(bytes));
