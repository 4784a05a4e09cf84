//! nginx's declarations and the two pipes.

#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    dead_code,
    clippy::all
)]

include!(concat!(env!("OUT_DIR"), "/nginx.rs"));
