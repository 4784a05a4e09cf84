//! The pipe's turns, and what wakes it next: `ngx_event_pipe`.

#![forbid(unsafe_code)]

use crate::Abort;
use crate::nginx::Pipe;
use crate::read::read_upstream;
use crate::write::{Written, write_to_downstream};
use crate::{counts, linger, stream, timers, wide};

/// One turn: does what can be done now, and registers what the next waits for.
pub(crate) fn run(p: Pipe<'_>, write: bool) -> Result<(), Abort> {
    #[cfg(ngx_threads)]
    note_aio(p);

    counts::start_turn(p);
    wide::start_turn(p);

    let result = turn(p, write);

    counts::end_turn(p, result);

    result
}

/// A thread may have been given work for the request since the last turn, by
/// whoever sends from its files: HTTP/2 does that between two turns, and which
/// file's handler it asks decides whether the pipe is told. (nginx asks the
/// request only before the pipe writes.)
#[cfg(ngx_threads)]
fn note_aio(p: Pipe<'_>) {
    if p.state().is_some() {
        p.set_aio(p.request_aio());
    }
}

/// Sends first if `write` is set, then reads and sends in turn for as long as a
/// read brings something to send or waits for something to be sent.
fn turn(p: Pipe<'_>, mut write: bool) -> Result<(), Abort> {
    loop {
        if write {
            p.log().set_action(c"sending to client");

            if write_to_downstream(p)? == Written::Busy {
                // The output tells when it goes on. (The C original leaves
                // events and timers as they are.)
                break;
            }
        }

        p.set_read(false);
        p.set_upstream_blocked(false);

        p.log().set_action(c"reading upstream");

        read_upstream(p)?;

        if !p.read() && !p.upstream_blocked() && !stream::flush(p)? {
            break;
        }

        write = true;
    }

    linger::flush(p)?;

    if let Some(end) = linger::end(p) {
        return end;
    }

    await_upstream(p)?;
    await_downstream(p)
}

/// Registers upstream's read event, and its timer while it is waited for.
fn await_upstream(p: Pipe<'_>) -> Result<(), Abort> {
    let Some(upstream) = p.upstream().filter(|upstream| upstream.is_open()) else {
        return Ok(());
    };

    let event = upstream.read();

    event.handle_read(event.eof() || event.error())?;
    timers::watch_upstream(p, upstream);

    Ok(())
}

/// Registers the client's write event, and its timer while it is waited for;
/// not while the connection serves another (sub)request.
fn await_downstream(p: Pipe<'_>) -> Result<(), Abort> {
    let downstream = p.downstream();

    if !downstream.is_open() || downstream.data() != p.output_ctx() {
        return Ok(());
    }

    downstream.write().handle_write(p.send_lowat())?;
    timers::watch_downstream(p, downstream);

    Ok(())
}
