//! The counts of a response: bytes, reads, writes, waits. The variables of the access
//! log show them, and the totals of the status sum them up. (nginx has no such counts.)
//!
//! The bytes that *wait for the client* are those of the body that are not sent when a
//! turn of the pipe ends, although nothing more can be sent. Within a turn no byte
//! waits, because the pipe is still sending.

#![forbid(unsafe_code)]

use crate::extensions::totals::Response;
use crate::extensions::zones;
use crate::extensions::{linger, memory};
use crate::nginx::{
    Abort, Account, Counts, End, Linger, Link, Links, Pipe, Settings, Slot, State, TempFile, clock,
    off_t, update,
};

/// The counts of the pipe; `None` if the pipe has no state.
fn counts<'p>(p: Pipe<'p>) -> Option<&'p Counts<'p>> {
    p.state().map(|state| &state.counts)
}

/// How many bytes of a chain are still to be sent.
pub(crate) fn unsent(chain: Option<Link<'_>>) -> off_t {
    Links::from(chain)
        .map(|link| link.buf().unsent())
        .fold(0, off_t::saturating_add)
}

/// Counts a read of upstream. `size` is the result of `recv_chain`: bytes, the end of
/// the stream, or an error.
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

/// Counts the bytes that the input filter has appended to `in`; `end` is where `in`
/// ended before.
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

/// Counts `size` bytes of `in` that were written to the temporary file.
pub(crate) fn spilled(p: Pipe<'_>, size: isize) {
    if p.cacheable() {
        // These bytes are written in any case, not because the client is slow.
        return;
    }

    if let Some(counts) = counts(p) {
        counts.spilled.add(size);
    }
}

/// Counts a call of the output filter with `bytes` of the body, before the call.
pub(crate) fn before_output(p: Pipe<'_>, bytes: off_t) {
    if let Some(counts) = counts(p) {
        counts.writes.add(1_u64);
        counts.passed.add(bytes);
        update(&counts.held, |held| held.saturating_add(bytes));
        update(&counts.queued, |queued| queued.saturating_sub(bytes));
    }
}

/// Notes that the buffers that the output was given have been sorted into `free` and
/// `busy`.
pub(crate) fn after_output(p: Pipe<'_>) {
    if p.busy().is_some() {
        return;
    }

    if let Some(counts) = counts(p) {
        counts.held.set(0);
    }
}

/// The chains `busy`, `out` and `in` before the final flush, and their unsent bytes.
/// nginx does not sort chains after that flush, so the bytes that were sent are
/// computed from the unsent bytes before and after.
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

/// Notes what the output is about to be given in the final flush.
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

/// Counts the bytes that the output has sent in the final flush. (If a thread had to be
/// waited for during the flush, bytes that were sent meanwhile still count as held.)
pub(crate) fn end_final_flush<'p>(p: Pipe<'p>, flush: Option<FinalFlush<'p>>) {
    if let Some((counts, flush)) = counts(p).zip(flush) {
        let sent = flush.bytes.saturating_sub(flush.unsent());

        update(&counts.held, |held| held.saturating_sub(sent));
    }
}

/// The counts of the response until now.
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
        memory: positive(state.memory.most.get()),
        cut_turns: counts.cut_turns.get(),
        queue_time: counts.queue_time.get(),
        peak: positive(counts.peak.get()),
        buffers: positive(state.pipe.allocated()),
        buffers_max: positive(state.pipe.bufs_num()),
        buffer_size: positive(state.pipe.bufs_size()),
        end: end_so_far(state),
    }
}

/// Notes that a response begins, where it is counted.
pub(crate) fn open(account: Option<Account<'_>>, settings: Settings<'_>) {
    if let Some(account) = account {
        zones::shift(account, &account.row.active, 1);
        zones::note_loans_max(account, memory::limit(settings) as u64);
    }
}

/// Counts a response that is over. If it `waits`, the time since the last turn counts,
/// too.
pub(crate) fn close(state: &State<'_>, waits: bool) {
    let Some(account) = state.counts.account else {
        return;
    };

    if waits {
        pass_time(&state.counts);
    }

    zones::commit(account, &response(state));
    zones::note_use(account, &state.counts, 0, 0);
    zones::shift(account, &account.row.active, 1_u64.wrapping_neg());
}

/// Brings up to date what the response has on disk, and what is lent to it.
pub(crate) fn note_use(state: &State<'_>) {
    if let Some(account) = state.counts.account {
        let disk = positive(on_disk(state));
        let lent = positive(state.memory.bytes.get());

        zones::note_use(account, &state.counts, disk, lent);
    }
}

/// How many bytes the response has in temporary files.
fn on_disk(state: &State<'_>) -> off_t {
    let file = match state.segments.last.get() {
        Some(_) => None,
        None => state.pipe.temp_file(),
    };

    file.map_or(state.segments.on_disk.get(), TempFile::offset)
}

/// The number, or 0 if it is negative.
fn positive(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

/// Notes, when a turn begins, whether a peer has timed out since the last turn.
pub(crate) fn start_turn(state: &State<'_>) {
    state.counts.end.set(end_so_far(state));
}

/// How the response has ended by now. The pipe itself notes what goes wrong in a turn;
/// if nginx has set a flag of failure between two turns, then a peer has timed out.
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

/// Adds the time since the last turn to the times of the counts: whether upstream was
/// held back, and whether the client was waited for, has not changed since then.
pub(crate) fn pass_time(counts: &Counts<'_>) {
    let now = clock();
    let passed = now.wrapping_sub(counts.since.replace(now));

    if counts.blocked.get() {
        counts.blocked_time.add(passed as u64);
    }

    if counts.awaits_client.get() {
        counts.client_time.add(passed as u64);
    }
}

/// Notes, at the end of a turn, how the response has ended if it has, its peak, and
/// whom the pipe now waits for.
pub(crate) fn end_turn(p: Pipe<'_>, result: Result<(), Abort>) {
    let Some(state) = p.state() else {
        return;
    };
    let counts = &state.counts;

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
    note_use(state);
}

fn end(p: Pipe<'_>, counts: &Counts<'_>, result: Result<(), Abort>) -> Option<End> {
    let given_up = linger::reason(p);

    if result.is_err() {
        return Some(match given_up {
            Some(Linger::Breach) => End::UpstreamError,
            _ => End::InternalError,
        });
    }

    let is_cut = p.upstream_error() && !p.upstream_done();

    // The time-out of upstream came before any failure of the client.
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

/// The peak is precise to an eighth only, so that `busy`, which may be long, is seldom
/// looked at.
const PRECISION: off_t = 8;

/// Raises the peak to the bytes that wait for the client now. Walks `busy` only if
/// these may be clearly more than the peak.
fn measure(p: Pipe<'_>, counts: &Counts<'_>) {
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

/// Whether the client is waited for: there is something to send, and neither a rate
/// limit nor another request on the connection keeps it back.
fn client_is_awaited(p: Pipe<'_>, counts: &Counts<'_>) -> bool {
    let downstream = p.downstream();
    let event = downstream.write();

    (counts.queued.get() > 0 || counts.held.get() > 0)
        && !p.downstream_error()
        && downstream.data() == p.output_ctx()
        && !event.ready()
        && !event.delayed()
}

/// Whether upstream is held back at the end of a turn: bytes are left in its socket
/// because no buffer is free, and nothing could be spilled, or not yet. Neither a
/// rate limit nor the wait for a turn holds upstream back, nor is upstream held back when
/// it is not to be read any more.
fn upstream_is_held_back(p: Pipe<'_>) -> bool {
    let Some(upstream) = p.upstream().filter(|upstream| upstream.is_open()) else {
        return false;
    };

    let waits_for_turn = p.state().is_some_and(|state| state.turns.place.is_taken());

    if p.upstream_finished() || linger::reason(p).is_some() || waits_for_turn {
        return false;
    }

    let waits_for_client = p
        .state()
        .is_some_and(|state| state.delay.is_upstream_delayed.get());

    waits_for_client || (upstream.read().ready() && !upstream.read().delayed())
}

/// Notes whether upstream is held back. Counts one more time that upstream was held
/// back, unless it was so before and has not been read since.
fn set_blocked(counts: &Counts<'_>, blocked: bool) {
    let was_blocked = counts.blocked.replace(blocked);

    if blocked && (!was_blocked || counts.blocked_reads.get() != counts.reads.get()) {
        counts.blocked_count.add(1_u64);
        counts.blocked_reads.set(counts.reads.get());
    }
}
