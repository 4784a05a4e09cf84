//! nginx's event pipe in Rust.
//!
//! The pipe carries a response from an upstream server to the client through
//! memory and, when the client is slow or the response is to be kept, through
//! a temporary file. It is the engine behind `proxy_buffering on`, behind the
//! same of FastCGI, SCGI and uwsgi, and behind the filling of a cache. This
//! library takes the place of nginx's `src/event/ngx_event_pipe.c`.
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
//! *Raw* buffers own memory. The input filter of the protocol describes the
//! parts of a raw buffer that belong to the body by *shadow* buffers and links
//! them into `in`. From there they are sent, or, when all raw buffers are full
//! and the client is not ready, *spilled* to the temporary file and replaced by
//! a file buffer in `out`. When the last shadow of a raw buffer is done, its
//! memory can be received into again.
//!
//! # Where to find what
//!
//! | file | what it does | C function |
//! |---|---|---|
//! | `exports.rs` | the symbols that nginx links against | |
//! | `pipe.rs` | turns: write, read, again; then events and timers | `ngx_event_pipe` |
//! | `read.rs` | receives, and passes raw buffers to the input filter | `ngx_event_pipe_read_upstream` |
//! | `rate.rs` | arithmetic of `proxy_limit_rate` | |
//! | `write.rs` | sends `out` and `in`, within the busy size | `ngx_event_pipe_write_to_downstream` |
//! | `busy.rs` | what the output was given and has not sent | |
//! | `spill.rs` | moves data of `in` to the temporary file | `ngx_event_pipe_write_chain_to_temp_file` |
//! | `delay.rs` | waits for the client before it spills | |
//! | `segments.rs` | the files that data is spilled to, one after the other | |
//! | `fallback.rs` | goes on without the disk when that fails | |
//! | `shadow.rs` | the ring of a raw buffer and its shadows | `ngx_event_pipe_remove_shadow_links` |
//! | `recycle.rs` | the way of raw buffers back to be received into | `ngx_event_pipe_add_free_buf`, `..._drain_chains` |
//! | `wide.rs` | reads and writes more at once than nginx does | |
//! | `lend.rs` | the worker's large buffers, lent to one pipe at a time | |
//! | `counts.rs` | what a response costs, for the log and the status | |
//! | `stream.rs` | passes on what has come before a buffer is full | |
//! | `timers.rs` | how long either side is waited for | |
//! | `linger.rs` | what an upstream that is given up has sent goes on | |
//! | `rest.rs` | what goes back when the output is done with it | |
//! | `copy_filter.rs` | the input filter of protocols without framing | `ngx_event_pipe_copy_input_filter` |
//! | `dump.rs` | the chains in the debug log | |
//! | `nginx/` | handles for nginx's structures, calls to its functions | |
//!
//! Everything but `exports.rs` and `nginx/` is free of unsafe code.

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
// Unit tests are not linked to nginx: they see neither the exported functions
// nor, therefore, a use for most others.
#![cfg_attr(
    test,
    allow(dead_code, clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod busy;
mod copy_filter;
mod counts;
mod delay;
mod dump;
#[cfg(not(test))]
pub mod exports;
mod fallback;
mod lend;
mod linger;
mod nginx;
mod pipe;
mod rate;
mod read;
mod recycle;
mod rest;
mod segments;
mod shadow;
mod spill;
mod stream;
mod timers;
mod wide;
mod write;

/// The pipe cannot go on, `NGX_ABORT`: the request has to be finalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Abort;

/// Required of a library without the standard one, and never linked: no panic
/// is reachable, which the tests check on the finished nginx. Unless rustc's own
/// checks are compiled in, as they are with the sanitizers.
#[cfg(not(any(test, feature = "std")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(debug_assertions)]
    nginx::abort();

    #[cfg(not(debug_assertions))]
    loop {}
}
