//! nginx's event pipe in Rust.
//!
//! The pipe carries a response from an upstream server to the client through memory
//! and, when the client is slow or the response is cacheable, through a temporary file.
//! nginx uses the pipe for `proxy_buffering on`, for `fastcgi_buffering on` and its
//! like of SCGI and uwsgi, and to fill a cache. This library takes the place of nginx's
//! `src/event/ngx_event_pipe.c`.
//!
//! # How the pipe works
//!
//! ```text
//!              recv_chain         input filter          output filter
//!   upstream ───────────▶ raw ─────────────────▶ in ─────────────────▶ client
//!                          ▲                     │                ▲
//!                          │               spill │                │
//!                          │                     ▼                │
//!                          │              temporary file ─▶ out ──┘
//!                          └──────── free_raw_bufs ◀── sent or spilled
//! ```
//!
//! *Raw* buffers own memory. The input filter of the protocol describes the parts of a
//! raw buffer that belong to the body by *shadow* buffers and links the shadows into
//! `in`. From there the shadows are sent, or, when all raw buffers are full and the
//! client is not ready, *spilled* to the temporary file and replaced by a file buffer
//! in `out`. When the last shadow of a raw buffer is sent or spilled, the raw buffer
//! can be received into again.
//!
//! # Where to find what
//!
//! The files stand on floors. A file imports files of lower floors only; a unit test
//! (`floors`) holds the imports against this table.
//!
//! | floor | file | what it does | C function |
//! |---|---|---|---|
//! | 6 | `exports` | the symbols that nginx links against | |
//! | 6 | `inspect` | what tests may see of a state; not for nginx | |
//! | 5 | `pipe` | turns: write, read, again; then events and timers | `ngx_event_pipe` |
//! | 4 | `read` | receives, and has raw buffers filtered | `ngx_event_pipe_read_upstream` |
//! | 4 | `write` | sends `out` and `in`, within the busy size | `ngx_event_pipe_write_to_downstream`, `..._drain_chains` |
//! | 3 | `spill` | moves data of `in` to the temporary file | `ngx_event_pipe_write_chain_to_temp_file` |
//! | 2 | `raw` | raw buffers: allocation, free list, shadows | `ngx_event_pipe_add_free_buf`, `..._remove_shadow_links` |
//! | 1 | `extensions` | what this pipe does beyond nginx's, one file for each thing | |
//! | 1 | `copy_filter` | the input filter of protocols without framing | `ngx_event_pipe_copy_input_filter` |
//! | 1 | `rate` | arithmetic of `proxy_limit_rate` | |
//! | 1 | `dump` | the chains in the debug log | |
//! | 0 | `nginx` | handles for nginx's structures, calls to its functions | |
//!
//! Everything but `exports`, `inspect` and `nginx` is free of unsafe code. Where the
//! algorithm differs from nginx's, a comment says `Differs from nginx`; the table in
//! `extensions` says what the extensions do.

#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::missing_safety_doc,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
// Unit tests are not linked to nginx: they have no exported functions and therefore
// leave most other functions unused.
#![cfg_attr(
    test,
    allow(dead_code, clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod copy_filter;
mod dump;
#[cfg(not(test))]
pub mod exports;
mod extensions;
#[cfg(test)]
mod floors;
#[cfg(all(feature = "std", not(test)))]
pub mod inspect;
mod nginx;
mod pipe;
mod rate;
mod raw;
mod read;
mod spill;
mod write;

/// A library without Rust's standard one must have a panic handler. No panic can be
/// reached, which the tests check on the finished nginx, so the handler is never
/// linked, unless rustc's own checks are compiled in, as they are with the sanitizers.
#[cfg(not(any(test, feature = "std")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(debug_assertions)]
    nginx::abort();

    #[cfg(not(debug_assertions))]
    loop {}
}
