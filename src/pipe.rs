//! The pipe's turns, and what wakes the pipe next: `ngx_event_pipe`.

#![forbid(unsafe_code)]

use crate::extensions::{self, linger, stream, timeouts, turns};
use crate::nginx::{Abort, Event, Pipe, ngx_msec_t};
use crate::read::read_upstream;
use crate::write::{Sent, flush_output, write_to_downstream};

/// Runs one turn: moves data as far as that goes without waiting, and registers the
/// events and timers that start the next turn. Moves nothing if the pipe has to wait
/// until other pipes of the worker have moved.
pub(crate) fn run(p: Pipe<'_>, write: bool) -> Result<(), Abort> {
    extensions::start_turn(p);

    let result = match turns::start(p, write) {
        Some(write) => turn(p, write),
        None => await_events(p),
    };

    extensions::end_turn(p, result);

    result
}

/// Sends first if `write` is set, or if upstream has been given up: then no read makes the
/// pipe send. Then reads and sends in turn, as long as a read brings something to send, or
/// nothing can be received until something is sent.
fn turn(p: Pipe<'_>, write: bool) -> Result<(), Abort> {
    let mut write = write || linger::reason(p).is_some();

    loop {
        if write {
            p.log().set_action(c"sending to client");

            if write_to_downstream(p)? == Sent::Held {
                // Differs from nginx: the pipe registers events and timers all the
                // same. nginx leaves both as they are.
                break;
            }
        }

        p.set_read(false);
        p.set_upstream_blocked(false);

        p.log().set_action(c"reading upstream");

        read_upstream(p)?;

        if !p.read() && !p.upstream_blocked() {
            if !stream::owes_flush(p) {
                break;
            }
            flush_output(p)?;
        }

        write = true;
    }

    if linger::owes_flush(p) {
        flush_output(p)?;
    }

    if let Some(end) = linger::end(p) {
        return end;
    }

    await_events(p)
}

/// Registers the events, and sets the timers, of both sides.
fn await_events(p: Pipe<'_>) -> Result<(), Abort> {
    await_upstream(p)?;
    await_downstream(p)
}

/// Registers upstream's read event, and sets the event's timer as long as upstream is
/// waited for.
fn await_upstream(p: Pipe<'_>) -> Result<(), Abort> {
    let Some(upstream) = p.upstream().filter(|upstream| upstream.is_open()) else {
        return Ok(());
    };

    let event = upstream.read();

    event.handle_read(event.eof() || event.error())?;

    match timeouts::state(p) {
        Some(state) => timeouts::time_upstream(p, state, upstream),
        None => restart_timer(event, p.read_timeout()),
    }

    Ok(())
}

/// Registers the client's write event, and sets the event's timer as long as the client
/// is waited for. Does nothing while the connection serves another (sub)request.
fn await_downstream(p: Pipe<'_>) -> Result<(), Abort> {
    let downstream = p.downstream();

    if !downstream.is_open() || downstream.data() != p.output_ctx() {
        return Ok(());
    }

    let event = downstream.write();

    event.handle_write(p.send_lowat())?;

    match timeouts::state(p) {
        Some(state) => timeouts::time_client(p, state, downstream),
        None => restart_timer(event, p.send_timeout()),
    }

    Ok(())
}

/// Restarts the timer of an event if its peer is waited for, and stops the timer if
/// not. Leaves the timer of a delayed event alone: a rate limit has set that timer.
fn restart_timer(event: Event<'_>, timeout: ngx_msec_t) {
    if event.delayed() {
        return;
    }

    if event.is_awaited() {
        event.add_timer(timeout);
    } else {
        event.stop_timer();
    }
}
