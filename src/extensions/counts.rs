//! What a response costs, counted in passing: the variables of the access log
//! and the totals of the status are made of it. (nginx has nothing like it.)
//!
//! What *waits for the client* are those bytes of the body that are not sent when
//! a turn of the pipe ends, although nothing more can be sent. Within a turn
//! nobody waits: what can be done is being done.

#![forbid(unsafe_code)]

use crate::extensions::linger;
use crate::extensions::status::Response;
use crate::nginx::{
    Abort, Counts, End, Linger, Link, Links, Pipe, Slot, State, clock, off_t, update,
};

/// Where the pipe counts; `None` if it has no state.
fn counts<'p>(p: Pipe<'p>) -> Option<&'p Counts> {
    p.state().map(|state| &state.counts)
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

    counts.reads.add(1_u64);

    if is_lent && size > 0 {
        counts.loans.add(1_u64);
        counts.lent.add(size);
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

    update(&counts.queued, |bytes| bytes.saturating_add(unsent(added)));
}

/// Notes that `size` bytes of `in` were written to the temporary file.
pub(crate) fn spilled(p: Pipe<'_>, size: isize) {
    if p.cacheable() {
        // They are written in any case, not because the client is slow.
        return;
    }

    if let Some(counts) = counts(p) {
        counts.spilled.add(size);
    }
}

/// Notes that the output is about to be given `bytes` more.
pub(crate) fn before_output(p: Pipe<'_>, bytes: off_t) {
    if let Some(counts) = counts(p) {
        counts.writes.add(1_u64);
        counts.passed.add(bytes);
        update(&counts.held, |held| held.saturating_add(bytes));
        update(&counts.queued, |queued| queued.saturating_sub(bytes));
    }
}

/// Notes that what the output was given has been sorted into `free` and `busy`.
pub(crate) fn after_output(p: Pipe<'_>) {
    if p.busy().is_some() {
        return;
    }

    if let Some(counts) = counts(p) {
        counts.held.set(0);
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

    if !counts.final_flush_started.replace(true) {
        counts.held.set(unsent(p.busy()));
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

        update(&counts.held, |held| held.saturating_sub(sent));
    }
}

/// What the response has cost until now.
pub(crate) fn response(state: &State<'_>) -> Response {
    let counts = &state.counts;

    Response {
        received: positive(state.pipe.read_length()),
        passed: counts.passed.get(),
        spilled: counts.spilled.get(),
        blocked_count: counts.blocked_count.get(),
        blocked_time: counts.blocked_time.get(),
        client_time: counts.client_time.get(),
        reads: counts.reads.get(),
        writes: counts.writes.get(),
        loans: counts.loans.get(),
        lent: counts.lent.get(),
        peak: positive(counts.peak.get()),
        buffers: positive(state.pipe.allocated()),
        buffers_max: positive(state.pipe.bufs_num()),
        end: end_so_far(state),
    }
}

/// The number, or 0 if it is negative.
fn positive(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

/// Since the last turn, a peer may have timed out.
pub(crate) fn start_turn(state: &State<'_>) {
    state.counts.end.set(end_so_far(state));
}

/// How the response has ended by now. The pipe notes what goes wrong in a turn of its
/// own; a flag that nginx sets between two turns is that of a peer that has timed out.
pub(crate) fn end_so_far(state: &State<'_>) -> End {
    let end = state.counts.end.get();

    if end == End::Aborted && state.pipe.upstream_error() {
        return End::UpstreamTimeout;
    }

    let is_gone = state.pipe.downstream_error() && !state.counts.header_only;

    if end <= End::Complete && is_gone {
        return End::ClientTimeout;
    }

    end
}

/// What the last turn has left has been so until now: adds to the times.
pub(crate) fn pass_time(counts: &Counts) {
    let now = clock();
    let passed = now.wrapping_sub(counts.since.replace(now));

    if counts.blocked.get() {
        counts.blocked_time.add(passed as u64);
    }

    if counts.awaits_client.get() {
        counts.client_time.add(passed as u64);
    }
}

/// The pipe leaves it at that for now.
pub(crate) fn end_turn(p: Pipe<'_>, result: Result<(), Abort>) {
    let Some(counts) = counts(p) else {
        return;
    };

    pass_time(counts);

    if counts.end.get() <= End::Complete {
        if let Some(end) = end(p, counts, result) {
            counts.end.set(end);
        }
    }

    let goes_on = result.is_ok();

    if goes_on && !p.downstream_error() && !p.client_ready() {
        measure(p, counts);
    }

    counts
        .awaits_client
        .set(goes_on && client_is_awaited(p, counts));
    set_blocked(counts, goes_on && upstream_is_held_back(p));
}

fn end(p: Pipe<'_>, counts: &Counts, result: Result<(), Abort>) -> Option<End> {
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

    if p.downstream_error() && !counts.header_only {
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
fn measure(p: Pipe<'_>, counts: &Counts) {
    let waiting = || counts.queued.get().saturating_add(counts.held.get());
    let peak = counts.peak.get();

    if waiting() <= peak.saturating_add(peak / PRECISION) {
        return;
    }

    if !counts.final_flush_started.get() {
        counts.held.set(unsent(p.busy()));
    }

    counts.peak.set(waiting().max(peak));
}

/// There is something to send, and neither a rate limit nor another request
/// keeps it back.
fn client_is_awaited(p: Pipe<'_>, counts: &Counts) -> bool {
    let downstream = p.downstream();
    let event = downstream.write();

    (counts.queued.get() > 0 || counts.held.get() > 0)
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

    let waits_for_client = p
        .state()
        .is_some_and(|state| state.delay.is_upstream_delayed.get());

    waits_for_client || (upstream.read().ready() && !upstream.read().delayed())
}

/// A read in between makes it another time.
fn set_blocked(counts: &Counts, blocked: bool) {
    let was_blocked = counts.blocked.replace(blocked);

    if blocked && (!was_blocked || counts.blocked_reads.get() != counts.reads.get()) {
        counts.blocked_count.add(1_u64);
        counts.blocked_reads.set(counts.reads.get());
    }
}
