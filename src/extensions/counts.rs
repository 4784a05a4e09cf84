//! What a response costs, counted in passing: the variables of the access log
//! and the totals of the status are made of it. (nginx has nothing like it.)
//!
//! What *waits for the client* are those bytes of the body that are not sent when
//! a turn of the pipe ends, although nothing more can be sent. Within a turn
//! nobody waits: what can be done is being done.

#![forbid(unsafe_code)]

use crate::extensions::linger;
use crate::nginx::{Abort, Counts, End, Linger, Link, Links, Pipe, Slot, State, off_t};

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

/// Notes that upstream was read: `size` bytes, or the end, or nothing.
pub(crate) fn received(p: Pipe<'_>, size: isize, is_lent: bool) {
    let Some(counts) = counts(p) else {
        return;
    };

    counts.set_reads(counts.reads().wrapping_add(1));

    if is_lent && size > 0 {
        counts.set_loans(counts.loans().wrapping_add(1));
        counts.set_lent(counts.lent().saturating_add(size as off_t));
    }
}

/// Notes that the input filter has run; `end` is where `in` ended before.
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

/// Notes that `size` bytes of `in` were written to the temporary file.
pub(crate) fn spilled(p: Pipe<'_>, size: isize) {
    if p.cacheable() {
        // They are written in any case, not because the client is slow.
        return;
    }

    if let Some(counts) = counts(p) {
        counts.set_spilled(counts.spilled().saturating_add(size as off_t));
    }
}

/// Notes that the output is about to be given `bytes` more.
pub(crate) fn before_output(p: Pipe<'_>, bytes: off_t) {
    if let Some(counts) = counts(p) {
        counts.set_writes(counts.writes().wrapping_add(1));
        counts.set_passed(counts.passed().saturating_add(bytes));
        counts.set_held(counts.held().saturating_add(bytes));
        counts.set_queued(counts.queued().saturating_sub(bytes));
    }
}

/// Notes that what the output was given has been sorted into `free` and `busy`.
pub(crate) fn after_output(p: Pipe<'_>) {
    if p.busy().is_some() {
        return;
    }

    if let Some(counts) = counts(p) {
        counts.set_held(0);
    }
}

/// `busy`, `out` and `in` before the final flush. nginx does not sort chains after
/// it, so what was sent is found by comparing the unsent bytes before and after.
pub(crate) struct FinalFlush<'p> {
    chains: [Option<Link<'p>>; 3],
    bytes: off_t,
}

impl FinalFlush<'_> {
    fn unsent(&self) -> off_t {
        self.chains
            .into_iter()
            .map(unsent)
            .fold(0, off_t::saturating_add)
    }
}

/// The output is about to be given all there is.
pub(crate) fn start_final_flush<'p>(p: Pipe<'p>) -> Option<FinalFlush<'p>> {
    let counts = counts(p)?;

    if !counts.final_flush_started() {
        counts.set_final_flush_started(true);
        counts.set_held(unsent(p.busy()));
    }

    let mut flush = FinalFlush {
        chains: [p.busy(), p.out(), p.input()],
        bytes: 0,
    };
    flush.bytes = flush.unsent();

    Some(flush)
}

/// The output was given all of it. (If a thread had to be waited for in between, what
/// was sent meanwhile is not known to be sent.)
pub(crate) fn end_final_flush<'p>(p: Pipe<'p>, flush: Option<FinalFlush<'p>>) {
    if let Some((counts, flush)) = counts(p).zip(flush) {
        let sent = flush.bytes.saturating_sub(flush.unsent());

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

    if goes_on && !p.downstream_error() && !p.client_ready() {
        measure(p, counts);
    }

    counts.set_awaits_client(goes_on && client_is_awaited(p, counts));
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

    if !counts.final_flush_started() {
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

/// Whether the turn has left bytes in upstream's socket because no buffer is free, and
/// nothing could be spilled, or not yet. A rate limit does not hold upstream back, nor
/// is upstream held back when it is not to be read any more.
fn upstream_is_held_back(p: Pipe<'_>) -> bool {
    let Some(upstream) = p.upstream().filter(|upstream| upstream.is_open()) else {
        return false;
    };

    if p.upstream_finished() || linger::reason(p).is_some() {
        return false;
    }

    let waits_for_client = p.state().is_some_and(State::delayed_by_us);

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
