//! When upstream is finished, the output is given all there is, and nginx does not
//! call the pipe any more. What the output holds then still keeps a loan of the
//! worker's and temporary files: both go back when it has been sent, not only when the
//! request ends. (Under nginx, a response has one file, until the request ends.)
//!
//! Who may still hold a buffer: whoever was given the buffer, until its data is taken
//! off it, which the pipe sees by the buffer's own position. That is the rule by which
//! nginx receives into a raw buffer again; for a file, `segments` has a stricter one.
//! After an error of the output nothing is known, so everything stays.

#![forbid(unsafe_code)]

use crate::extensions::{lend, segments};
use crate::nginx::{Buf, Link, Pipe, State, ngx_msec_t};

/// How often the client is looked at in the course of its time-out, and how
/// rarely, in milliseconds.
const LOOKS: ngx_msec_t = 16;
const RAREST: ngx_msec_t = 4000;

/// How long until the client is looked at again.
pub(crate) fn interval(p: Pipe<'_>) -> ngx_msec_t {
    interval_for(p.send_timeout())
}

fn interval_for(send_timeout: ngx_msec_t) -> ngx_msec_t {
    (send_timeout / LOOKS).clamp(1, RAREST)
}

/// Notes what the output is about to be given: the last of `out` and `in`.
pub(crate) fn start_final_flush(p: Pipe<'_>) {
    let Some(state) = p.state() else {
        return;
    };

    let last = &state.give_back;

    last.busy.set(p.busy());
    last.out.set(joined(last.out.get(), p.out()));

    if p.writing().is_none() {
        last.input.set(p.input());
    }
}

/// What was handed over while a thread was still writing comes first.
fn joined<'p>(first: Option<Link<'p>>, second: Option<Link<'p>>) -> Option<Link<'p>> {
    match first {
        Some(first) if second.is_some() => {
            first.tail().set_next(second);
            Some(first)
        }
        first => first.or(second),
    }
}

/// The output has been given everything, and the pipe is at its end.
pub(crate) fn end_final_flush(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.give_back.is_finished.set(true);
        give_back_sent(p, state);

        if is_left(state) {
            p.watch(interval(p));
        }
    }
}

/// Gives back what has been sent since the last time.
pub(crate) fn give_back_sent<'p>(p: Pipe<'p>, state: &State<'p>) {
    let last = &state.give_back;

    if !last.is_finished.get() || p.downstream_error() {
        return;
    }

    for chain in [&last.busy, &last.out, &last.input] {
        chain.set(after_sent(p, chain.get()));
    }

    segments::finish(p);

    if !is_held(state) {
        // What is still lent to the pipe was dropped by the input filter.
        lend::give_back_any(state);
    }
}

/// The first link whose buffer has not been sent; those before it are done.
fn after_sent<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) -> Option<Link<'p>> {
    let mut next = chain;

    while let Some(link) = next.filter(|link| link.buf().unsent() <= 0) {
        done(p, link.buf());
        next = link.next();
    }

    next
}

fn done<'p>(p: Pipe<'p>, buf: Buf<'p>) {
    if buf.temp_file() {
        segments::done(p, buf);
    } else if let Some(raw) = buf.shadow().filter(|_| buf.last_shadow()) {
        lend::give_back(p, raw);
    }
}

/// Whether the output has something of the pipe's that has not been sent.
fn is_held(state: &State<'_>) -> bool {
    let last = &state.give_back;

    [&last.busy, &last.out, &last.input]
        .iter()
        .any(|chain| chain.get().is_some())
}

/// Whether there is something that has to be given back.
pub(crate) fn is_left(state: &State<'_>) -> bool {
    let has_something = state.lend.loan.get().is_some() || state.segments.oldest.get().is_some();

    state.give_back.is_finished.get() && has_something && is_held(state)
}

#[cfg(test)]
mod tests {
    use super::interval_for;

    #[test]
    fn the_client_is_looked_at_sixteen_times_in_its_time_out() {
        assert_eq!(interval_for(32_000), 2000);
    }

    #[test]
    fn but_every_four_seconds_at_least_and_every_millisecond_at_most() {
        assert_eq!(interval_for(3_600_000), 4000);
        assert_eq!(interval_for(5), 1);
    }
}
