//! The turns of a worker's pipes: its cycles of events, and the queue of those that
//! wait, as they must be.

use std::cell::RefCell;

use ngx_event_pipe::inspect::{self, View};

use super::{World, world};
use crate::nginx as n;
use crate::schedule;
use crate::trace::Event;

/// For so many bytes nobody waits, and in so many milliseconds they are given back; at
/// the most so many are missing.
const CREDIT: u64 = 16;
const CREDIT_TIME: u64 = 64;
const DEBT: u64 = 4 * CREDIT;

/// A pipe that carries bulk has so many turns in a row at the most, and all that wait
/// have theirs within so many, if one each is not more.
const IN_ROW: usize = 8;
const ROUND: usize = 16;

/// What a worker has beside its pipes.
#[derive(Default)]
struct Worker {
    /// The queue is to be served at the end of this cycle, or of the next one.
    posted: Option<Cycle>,
    /// Bytes that all pipes have received since the queue was served.
    received: u64,
    /// How many pipes have been served since then.
    served: u32,
    /// The pipes that wait, in the order in which they are to be served, and whether
    /// each carries bulk.
    order: Vec<(*mut World, bool)>,
    /// The queue is to be served in this cycle.
    is_due: bool,
    /// A clock; how fast it goes is of no use to anybody.
    nanoseconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cycle {
    This,
    Next,
}

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

fn worker<R>(body: impl FnOnce(&mut Worker) -> R) -> R {
    WORKER.with_borrow_mut(body)
}

/// Begins a worker without pipes.
pub fn start_worker() {
    worker(|worker| *worker = Worker::default());
    inspect::start_worker();
}

/// Begins a cycle of events.
pub fn begin_cycle() {
    worker(|worker| {
        worker.is_due = worker.posted == Some(Cycle::Next);
        if worker.is_due {
            worker.posted = Some(Cycle::This);
        }
    });
}

/// Ends a cycle of events: serves the queue if the pipes have asked for that.
pub fn end_cycle() {
    while worker(|worker| worker.posted == Some(Cycle::This)) {
        worker(|worker| {
            worker.posted = None;
            worker.received = 0;
            worker.served = 0;
        });
        // SAFETY: no pipe is running.
        unsafe { n::ngx_event_pipe_rust_end_cycle() };
    }
}

/// A turn of a pipe, as its world sees it.
#[derive(Default)]
pub(super) struct Turn {
    /// The state before the turn.
    before: View,
    /// How much has been moved in this cycle, and how many others have waited.
    moved: u64,
    others: usize,
    /// The pipe has been served, or need not wait.
    may_run: bool,
    /// Reads in this turn.
    reads: u32,
    /// How much of the credit is used, and when it was last given back.
    used: u64,
    grown: usize,
    /// Since when the pipe has waited, and for how many cycles at most it will.
    since: usize,
    patience: usize,
    /// What the pipe has waited for has come.
    is_served: bool,
    /// The turn is that for which the pipe has waited.
    was_served: bool,
    /// How many turns in a row the pipe has had.
    in_row: usize,
    /// The pipe carries bulk.
    is_bulk: bool,
    /// The pipe was told to send, and had to wait.
    owes_write: bool,
    /// The request has ended meanwhile.
    pub(super) has_ended: bool,
    /// How often, and for how long, the pipe has waited.
    waits: u64,
    waited: u64,
    /// How often the next turn was the pipe's, too, though others waited.
    returns: u64,
}

impl Worker {
    fn has(&self, pipe: *mut World) -> bool {
        self.order.iter().any(|&(waiting, _)| waiting == pipe)
    }

    /// How many turns in a row a pipe may have that carries bulk.
    fn most_in_row(&self) -> usize {
        match self.order.iter().all(|&(_, is_bulk)| is_bulk) {
            true => (ROUND / (self.order.len() + 1)).clamp(1, IN_ROW),
            false => 1,
        }
    }
}

impl World {
    fn limits_turns(&self) -> bool {
        self.extra.settings.max_chunk != 0 && self.config.has_state
    }

    /// Before a call.
    pub(super) fn note_turn(&mut self) {
        let me: *mut Self = self;
        let others = worker(|worker| worker.order.len() - usize::from(worker.has(me)));
        let read = &self.upstream_read;
        let is_elsewhere = self.aio
            || !self.pipe.writing.is_null()
            || !self.has_upstream()
            || self.upstream.fd == -1
            || read.delayed() != 0
            || self.is_finished()
            || self.lingers();
        let before = self.extra.view();
        let turn = &mut self.extra.turn;
        let passed = (now() - turn.grown) as u64;
        turn.grown = now();
        turn.used = turn.used.saturating_sub(passed * CREDIT / CREDIT_TIME);
        turn.before = before;
        turn.moved = inspect::moved();
        turn.others = others;
        turn.was_served = std::mem::take(&mut turn.is_served);
        turn.may_run = turn.was_served || is_elsewhere || turn.used < CREDIT;
        turn.reads = 0;
    }

    /// Whether a turn sends first: it is told to, or was when it had to wait.
    pub(super) fn sends_first(&self, do_write: bool) -> bool {
        do_write || self.extra.turn.owes_write
    }

    /// Before something is received.
    pub(super) fn check_may_move(&mut self) {
        self.extra.turn.reads += 1;
        let turn = &self.extra.turn;
        if !self.limits_turns() || turn.used < CREDIT {
            return;
        }
        let is_out_of_turn = turn.reads == 1 && !turn.may_run && turn.others > 0;
        let goes_on = turn.reads > 1 || !turn.may_run;
        let is_enough = worker(|worker| worker.received) >= self.extra.settings.max_chunk as u64;
        if is_out_of_turn {
            self.wrong("a pipe moves before those that have waited for longer");
        }
        if goes_on && is_enough {
            self.wrong("a pipe moves though enough has been moved in this cycle");
        }
    }

    /// Before something is received, at most `limit` bytes.
    pub(super) fn check_moves_little(&mut self, limit: i64) {
        if !self.limits_turns() {
            return;
        }
        // nginx knows no such limit.
        self.act();
        let received = worker(|worker| worker.received);
        let left = (self.extra.settings.max_chunk as u64).saturating_sub(received);
        let credit = CREDIT.saturating_sub(self.extra.turn.used);
        let most = left.max(credit).max(CREDIT / 4);
        if !(1..=most).contains(&(limit as u64)) {
            self.wrong("more is received at once than may be moved");
        }
    }

    /// Something was received.
    pub(super) fn note_moved(&mut self, size: isize) {
        let size = size.max(0) as u64;
        worker(|worker| worker.received += size);
        let turn = &mut self.extra.turn;
        turn.used = (turn.used + size).min(DEBT);
    }

    /// After a call that has begun at `from` in the trace. Tells whether the pipe has
    /// done nothing, for others to move first.
    pub(super) fn see_wait(&mut self, from: usize, sends_first: bool) -> bool {
        let me: *mut Self = self;
        let view = self.extra.view();
        let was_queued = worker(|worker| worker.has(me));
        self.note_bulk(view.is_queued);
        if view.is_queued && !was_queued {
            self.enter_queue();
            self.extra.acted.get_or_insert(from);
        }
        if !view.is_queued {
            self.extra.turn.in_row = 0;
            if was_queued {
                self.leave_queue();
            }
        }
        let has_moved = self.trace[from..]
            .iter()
            .any(|event| matches!(event, Event::Recv { .. } | Event::OutputFilter { .. }));
        let has_waited = view.is_queued && !has_moved && !self.extra.turn.may_run;
        if has_waited {
            self.check_waits_for_others();
        }
        self.extra.turn.owes_write = has_waited && sends_first;
        has_waited
    }

    /// A pipe that has run carries bulk if it has used all its credit, and has more to
    /// do, or had for a quarter of the turns in a row.
    fn note_bulk(&mut self, has_more: bool) {
        let most = worker(|worker| worker.most_in_row());
        let turn = &mut self.extra.turn;
        if turn.reads > 0 || !has_more {
            let is_much = has_more || turn.in_row * 4 >= most;
            turn.is_bulk = is_much && turn.used == DEBT;
        }
    }

    fn enter_queue(&mut self) {
        let me: *mut Self = self;
        let turn = &mut self.extra.turn;
        let is_bulk = turn.is_bulk;
        let others = worker(|worker| worker.order.len());
        turn.in_row += 1;
        let returns =
            is_bulk && turn.was_served && turn.in_row < worker(|worker| worker.most_in_row());
        let place = match returns {
            true => 0,
            false => others,
        };
        worker(|worker| worker.order.insert(place, (me, is_bulk)));
        if !returns {
            turn.in_row = 0;
        }
        turn.returns += u64::from(returns && others > 0);
        turn.waits += 1;
        turn.since = now();
        // One is served in each cycle, from the next one on; for one that does not carry
        // bulk, each of those before it once.
        turn.patience = match is_bulk {
            true => place * IN_ROW + 2,
            false => place + 2,
        };
    }

    fn leave_queue(&mut self) {
        let me: *mut Self = self;
        worker(|worker| worker.order.retain(|&(other, _)| other != me));
        let turn = &mut self.extra.turn;
        turn.waited += (now() - turn.since) as u64;
    }

    fn check_waits_for_others(&mut self) {
        let turn = &self.extra.turn;
        let is_enough = turn.moved >= self.extra.settings.max_chunk as u64;
        if !is_enough && turn.others == 0 && !turn.before.is_queued {
            self.wrong("a pipe waits though nobody else moves");
        }
    }

    /// After a call that went well: whoever has something to do is called again.
    pub(super) fn check_goes_on_later(&mut self) {
        let p = &self.pipe;
        let read = &self.upstream_read;
        let has_room = !p.free_raw_bufs.is_null() || (p.allocated as i64) < self.config.bufs;
        let may_read = self.has_upstream()
            && self.upstream.fd != -1
            && read.ready() != 0
            && read.delayed() == 0
            && !self.is_finished()
            && !self.lingers()
            && !self.aio
            && p.writing.is_null()
            && p.downstream_error() == 0;
        let view = self.extra.view();

        if may_read && has_room && !self.extra.is_held && !view.is_queued && !self.has_loan() {
            self.wrong("upstream has more, and nobody is to read it");
        }
        if view.is_queued && worker(|worker| worker.posted.is_none()) {
            self.wrong("a pipe waits for its turn, and nobody serves the queue");
        }
        if view.is_queued && self.is_finished() {
            self.wrong("a pipe waits for its turn that has nothing more to receive");
        }
        self.check_waits();
    }

    fn check_waits(&mut self) {
        let view = self.extra.view();
        let turn = &self.extra.turn;
        if view.cut_turns != turn.waits || view.queue_time != turn.waited {
            self.wrong("the time that a pipe waits for its turn is not counted");
        }
    }

    /// At the end of a cycle.
    pub fn check_patience(&mut self) {
        if !self.extra.view().is_queued {
            return;
        }
        let turn = &mut self.extra.turn;
        match turn.patience.checked_sub(1) {
            Some(patience) => turn.patience = patience,
            None => self.wrong("a pipe waits for its turn for too long"),
        }
    }

    /// How many times the pipe has waited for its turn.
    pub fn waits(&self) -> u64 {
        self.extra.turn.waits
    }

    /// How many times the next turn was the pipe's, too, though others waited.
    pub fn returns(&self) -> u64 {
        self.extra.turn.returns
    }

    /// Whether the request has ended since the last call of this function, while its
    /// pipe was served.
    pub fn takes_end(&mut self) -> bool {
        std::mem::take(&mut self.extra.turn.has_ended)
    }

    /// The request goes.
    pub(super) fn leave_worker(&mut self) {
        let me: *mut Self = self;
        if worker(|worker| worker.has(me)) {
            self.leave_queue();
        }
        if self.extra.view().is_queued {
            self.wrong("a pipe that is gone is left in the queue");
        }
    }

    /// It is this pipe's turn.
    fn be_served(&mut self) {
        let me: *mut Self = self;
        let is_first = worker(|worker| worker.order.first().is_some_and(|first| first.0 == me));
        let is_next = worker(|worker| {
            worker.served += 1;
            worker.served > 1
        });
        if !is_first {
            self.wrong("the queue is not served in order");
        }
        if !worker(|worker| worker.is_due) {
            self.wrong("the queue is served before the next cycle's events");
        }
        self.leave_queue();
        if is_next && inspect::moved() >= self.extra.settings.max_chunk as u64 {
            self.wrong("one more is served than may be");
        }
        if !self.has_upstream() || self.upstream.fd == -1 || self.upstream_read.delayed() != 0 {
            return;
        }
        self.extra.turn.is_served = true;
        self.extra.turn.has_ended = schedule::resume(self);
    }
}

fn now() -> usize {
    super::feature::now()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_resume(p: *mut n::ngx_event_pipe_t) {
    // SAFETY: the pipe of a world; no pipe is running.
    let w = unsafe { &mut *(*p).output_ctx.cast::<World>() };
    w.be_served();
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_end_cycle(next: n::ngx_uint_t) {
    let cycle = match next {
        0 => Cycle::This,
        _ => Cycle::Next,
    };
    let before = worker(|worker| worker.posted.replace(cycle));
    assert!(
        before.is_none(),
        "an event is posted that was posted before"
    );
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_nanoseconds() -> u64 {
    let w = world();
    if w.extra.turn.reads > 0 {
        // The turn may be over.
        w.act();
    }
    worker(|worker| {
        worker.nanoseconds += match worker.nanoseconds % 64 {
            63 => 50,
            rest => rest % 3,
        };
        worker.nanoseconds
    })
}
