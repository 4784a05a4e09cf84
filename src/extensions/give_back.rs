//! When upstream is finished, the output is given all there is, and nginx does not call
//! the pipe any more. The buffers that the output still holds keep loans of the worker's
//! and segments in use: both go back when they have been sent, not only when
//! the request ends. (Under nginx, a response has one file, until the request ends.)
//!
//! A filter may hold a buffer that it was given until the buffer's data is taken, which
//! the pipe sees by the buffer's position. That is the rule by which nginx receives
//! into a raw buffer again; for a file, `segments` has a stricter one. After an error
//! of the output nothing is known, so everything stays.

#![forbid(unsafe_code)]

use crate::extensions::{memory, segments};
use crate::nginx::{Buf, Link, Pipe, State, ngx_msec_t};

/// How many times in the course of `send_timeout` the watch looks at the client, and
/// the most milliseconds between two looks.
const LOOKS: ngx_msec_t = 16;
const RAREST: ngx_msec_t = 4000;

/// How long until the watch looks at the client again, in milliseconds.
pub(crate) fn interval(p: Pipe<'_>) -> ngx_msec_t {
    interval_for(p.send_timeout())
}

fn interval_for(send_timeout: ngx_msec_t) -> ngx_msec_t {
    (send_timeout / LOOKS).clamp(1, RAREST)
}

/// Notes the chains that the output holds or is about to be given in the final flush:
/// `busy`, `out` and, unless a thread is writing what comes before, `in`.
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

/// Appends `second` to `first`: a final flush before this one, while a thread was
/// writing, has given `first` to the output.
fn joined<'p>(first: Option<Link<'p>>, second: Option<Link<'p>>) -> Option<Link<'p>> {
    match first {
        Some(first) if second.is_some() => {
            first.tail().set_next(second);
            Some(first)
        }
        first => first.or(second),
    }
}

/// Notes that the output was given everything, so that the state is finished. Gives
/// back what has been sent, and starts the watch if something is left to give back.
pub(crate) fn end_final_flush(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.give_back.is_finished.set(true);
        give_back_sent(p, state);

        if is_left(state) {
            p.watch(interval(p));
        }
    }
}

/// Gives back what has been sent since the last call of this function: segments and
/// loans.
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
        // Loans that no shadow refers to: the input filter has dropped their data.
        memory::give_back_all(state);
    }
}

/// The first link whose buffer has not been sent. Gives back the segments and the loans
/// of the buffers before that link.
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
        memory::give_back(p, raw);
    }
}

/// Whether the output has a buffer of the pipe's that has not been sent.
fn is_held(state: &State<'_>) -> bool {
    let last = &state.give_back;

    [&last.busy, &last.out, &last.input]
        .iter()
        .any(|chain| chain.get().is_some())
}

/// Whether the state is finished and the output still holds something that keeps a loan
/// or a segment in use.
pub(crate) fn is_left(state: &State<'_>) -> bool {
    let has_something = memory::has_loans(state) || state.segments.oldest.get().is_some();

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
