//! What a response costs, counted in passing: the variables of the access log
//! and the totals of the status are made of it. (nginx has nothing like it.)
//!
//! What *waits for the client* are those bytes of the body that are not sent when
//! a turn of the pipe ends, although nothing more can be sent. Within a turn
//! nobody waits: what can be done is being done.

#![forbid(unsafe_code)]

use crate::Abort;
use crate::linger;
use crate::nginx::{Counts, End, Linger, Link, Links, Pipe, Slot, State, off_t};
use crate::read::{downstream_ready, upstream_finished};

/// Where the pipe counts; `None` if it has no state.
fn counts<'p>(p: Pipe<'p>) -> Option<Counts<'p>> {
    p.state().map(|state| state.counts())
}

/// Bytes of a chain that are still to be sent.
pub(crate) fn unsent(chain: Option<Link<'_>>) -> off_t {
    Links::from(chain)
        .map(|link| link.buf().unsent())
        .fold(0, off_t::saturating_add)
}

/// Upstream was read.
pub(crate) fn read(p: Pipe<'_>) {
    if let Some(counts) = counts(p) {
        counts.set_reads(counts.reads().wrapping_add(1));
    }
}

/// `size` bytes were received into a loan.
pub(crate) fn lent(p: Pipe<'_>, size: isize) {
    if let Some(counts) = counts(p) {
        counts.set_loans(counts.loans().wrapping_add(1));
        counts.set_lent(counts.lent().saturating_add(size as off_t));
    }
}

/// The input filter was run; `end` is where `in` ended before.
pub(crate) fn queued<'p>(p: Pipe<'p>, end: Option<Slot<'p>>) {
    let Some(counts) = counts(p) else {
        return;
    };

    let added = match end {
        Some(end) => end.get(),
        None => p.input(),
    };

    counts.set_queued(counts.queued().saturating_add(unsent(added)));
}

/// `size` bytes of `in` were written to the temporary file.
pub(crate) fn spilled(p: Pipe<'_>, size: isize) {
    if p.cacheable() {
        // They would have been anyway.
        return;
    }

    if let Some(counts) = counts(p) {
        counts.set_spilled(counts.spilled().saturating_add(size as off_t));
    }
}

/// The output is given `bytes` more.
pub(crate) fn write(p: Pipe<'_>, bytes: off_t) {
    if let Some(counts) = counts(p) {
        counts.set_writes(counts.writes().wrapping_add(1));
        counts.set_passed(counts.passed().saturating_add(bytes));
        counts.set_held(counts.held().saturating_add(bytes));
        counts.set_queued(counts.queued().saturating_sub(bytes));
    }
}

/// What the output was given is sorted into `free` and `busy`.
pub(crate) fn written(p: Pipe<'_>) {
    if p.busy().is_some() {
        return;
    }

    if let Some(counts) = counts(p) {
        counts.set_held(0);
    }
}

/// What the output is given last, and what it held before: from here on, nothing
/// is sorted any more.
pub(crate) struct Rest<'p> {
    chains: [Option<Link<'p>>; 3],
    bytes: off_t,
}

impl Rest<'_> {
    fn unsent(&self) -> off_t {
        self.chains
            .into_iter()
            .map(unsent)
            .fold(0, off_t::saturating_add)
    }
}

/// The output is about to be given all there is.
pub(crate) fn start_rest<'p>(p: Pipe<'p>) -> Option<Rest<'p>> {
    let counts = counts(p)?;

    if !counts.rest() {
        counts.set_rest(true);
        counts.set_held(unsent(p.busy()));
    }

    let mut rest = Rest {
        chains: [p.busy(), p.out(), p.input()],
        bytes: 0,
    };
    rest.bytes = rest.unsent();

    Some(rest)
}

/// The output was given all of it. (If a thread had to be waited for in
/// between, what was sent meanwhile is not known to be.)
pub(crate) fn rest_written<'p>(p: Pipe<'p>, rest: Option<Rest<'p>>) {
    if let Some((counts, rest)) = counts(p).zip(rest) {
        let sent = rest.bytes.saturating_sub(rest.unsent());

        counts.set_held(counts.held().saturating_sub(sent));
    }
}

/// Since the last turn, a peer may have timed out.
pub(crate) fn start_turn(p: Pipe<'_>) {
    if let Some(state) = p.state() {
        state.note_end();
    }
}

/// The pipe leaves it at that for now.
pub(crate) fn end_turn(p: Pipe<'_>, result: Result<(), Abort>) {
    let Some(counts) = counts(p) else {
        return;
    };

    counts.pass_time();

    if !counts.has_failed() {
        if let Some(end) = end(p, counts, result) {
            counts.set_end(end);
        }
    }

    let goes_on = result.is_ok();

    if goes_on && !p.downstream_error() && !downstream_ready(p) {
        measure(p, counts);
    }

    counts.set_waiting(goes_on && client_is_awaited(p, counts));
    set_blocked(counts, goes_on && upstream_is_held_back(p));
}

fn end(p: Pipe<'_>, counts: Counts<'_>, result: Result<(), Abort>) -> Option<End> {
    let given_up = linger::reason(p);

    if result.is_err() {
        return Some(match given_up {
            Some(Linger::Breach) => End::UpstreamError,
            _ => End::InternalError,
        });
    }

    let is_cut = p.upstream_error() && !p.upstream_done();

    // That was found before the client could fail.
    if is_cut && given_up == Some(Linger::Timeout) {
        return Some(End::UpstreamTimeout);
    }

    if p.downstream_error() && !counts.header_only() {
        return Some(End::ClientError);
    }

    if p.upstream_done() || (p.upstream_eof() && p.length() == -1) {
        return Some(End::Complete);
    }

    if p.upstream_error() {
        return Some(End::UpstreamError);
    }

    p.upstream_eof().then_some(End::UpstreamClosed)
}

/// The peak is kept to an eighth, so that `busy`, which may be long, is seldom
/// looked at.
const PRECISION: off_t = 8;

/// Looks at what is busy only if it may be clearly more than ever.
fn measure(p: Pipe<'_>, counts: Counts<'_>) {
    let waiting = || counts.queued().saturating_add(counts.held());
    let peak = counts.peak();

    if waiting() <= peak.saturating_add(peak / PRECISION) {
        return;
    }

    if !counts.rest() {
        counts.set_held(unsent(p.busy()));
    }

    counts.set_peak(waiting().max(peak));
}

/// There is something to send, and neither a rate limit nor another request
/// keeps it back.
fn client_is_awaited(p: Pipe<'_>, counts: Counts<'_>) -> bool {
    let downstream = p.downstream();
    let event = downstream.write();

    (counts.queued() > 0 || counts.held() > 0)
        && !p.downstream_error()
        && downstream.data() == p.output_ctx()
        && !event.ready()
        && !event.delayed()
}

/// Upstream is read until it has no more: if there may be more, no buffer is
/// free, and nothing could be spilled, or not yet. Unless a rate limit delays it,
/// or it is not to be read any more.
fn upstream_is_held_back(p: Pipe<'_>) -> bool {
    let Some(upstream) = p.upstream().filter(|upstream| upstream.is_open()) else {
        return false;
    };

    if upstream_finished(p) || linger::reason(p).is_some() {
        return false;
    }

    let waits_for_client = p.state().is_some_and(State::waiting);

    waits_for_client || (upstream.read().ready() && !upstream.read().delayed())
}

/// A read in between makes it another time.
fn set_blocked(counts: Counts<'_>, blocked: bool) {
    if blocked && (!counts.blocked() || counts.blocked_reads() != counts.reads()) {
        counts.set_blocked_count(counts.blocked_count().wrapping_add(1));
        counts.set_blocked_reads(counts.reads());
    }

    counts.set_blocked(blocked);
}
