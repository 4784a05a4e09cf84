//! What this pipe counts of a response, against what its world has seen.

use ngx_event_pipe::inspect::GivenUp;

use super::{World, links};
use crate::nginx as n;
use crate::world::Side;

/// How a response has ended, by the numbers of `$event_pipe_end`'s table.
mod end {
    pub(super) const ABORTED: u32 = 0;
    pub(super) const COMPLETE: u32 = 1;
    pub(super) const UPSTREAM_CLOSED: u32 = 2;
    pub(super) const UPSTREAM_ERROR: u32 = 3;
    pub(super) const UPSTREAM_TIMEOUT: u32 = 4;
    pub(super) const CLIENT_ERROR: u32 = 5;
    pub(super) const CLIENT_TIMEOUT: u32 = 6;
    pub(super) const INTERNAL_ERROR: u32 = 7;

    pub(super) const NAMES: [&str; 8] = [
        "aborted",
        "complete",
        "upstream_closed",
        "upstream_error",
        "upstream_timeout",
        "client_error",
        "client_timeout",
        "internal_error",
    ];
}

/// What a world has seen of a response.
#[derive(Default)]
pub(super) struct Seen {
    reads: usize,
    writes: usize,
    passed: i64,
    loans: usize,
    lent: i64,
    /// The most that has waited for the client.
    peak: i64,
    blocked: Span,
    waiting: Span,
    end: u32,
}

/// Something that has been so, from the end of one call to the start of the
/// next, or has not.
#[derive(Default)]
struct Span {
    since: Option<usize>,
    time: usize,
    count: usize,
    reads: usize,
}

impl Span {
    fn pass(&mut self, now: usize) {
        if let Some(since) = self.since.take() {
            self.time += now - since;
        }
    }

    fn start(&mut self, now: usize, reads: usize, went_on: bool) {
        if !went_on || self.reads != reads {
            self.count += 1;
        }
        self.reads = reads;
        self.since = Some(now);
    }
}

impl Seen {
    pub(super) fn read(&mut self, into_loan: bool, result: isize) {
        self.reads += 1;
        if into_loan && result > 0 {
            self.loans += 1;
            self.lent += result as i64;
        }
    }

    pub(super) fn write(&mut self, chain: *mut n::ngx_chain_t) {
        self.writes += 1;
        self.passed += unsent(links(chain));
    }
}

pub(super) fn unsent(bufs: impl Iterator<Item = *mut n::ngx_buf_t>) -> i64 {
    // SAFETY: buffers of the pool.
    bufs.map(|buf| unsafe { &*buf })
        .map(|b| match b.in_file() {
            0 => b.last as i64 - b.pos as i64,
            _ => b.file_last - b.file_pos,
        })
        .sum()
}

/// nginx's clock.
fn now() -> usize {
    // SAFETY: a variable of this thread.
    unsafe { (&raw const n::ngx_current_msec).read_volatile() }
}

impl World {
    fn counts(&self) -> bool {
        self.config.has_state && matches!(self.side, Side::Ours)
    }

    /// Before a call: what has become of the peers since the last.
    pub(super) fn see_peers(&mut self) {
        if self.seen.end == end::ABORTED && self.pipe.upstream_error() != 0 {
            self.seen.end = end::UPSTREAM_TIMEOUT;
        } else if self.seen.end <= end::COMPLETE && self.client_has_failed() {
            self.seen.end = end::CLIENT_TIMEOUT;
        }
    }

    pub(super) fn client_is_ready(&self) -> bool {
        self.downstream.data == self.pipe.output_ctx
            && self.downstream_write.ready() != 0
            && self.downstream_write.delayed() == 0
    }

    fn client_has_failed(&self) -> bool {
        self.pipe.downstream_error() != 0 && !self.config.header_only
    }

    /// After a call.
    pub(super) fn see_turn(&mut self, rc: isize) {
        if !self.counts() {
            return;
        }
        let went_well = rc == n::NGX_OK as isize;
        self.see_end(went_well);
        self.see_spans(went_well);
        if went_well && self.pipe.downstream_error() == 0 && !self.client_is_ready() {
            self.seen.peak = self.seen.peak.max(self.waiting());
        }
        self.check_counts(went_well);
    }

    fn see_end(&mut self, went_well: bool) {
        let p = &self.pipe;
        if self.seen.end > end::COMPLETE {
            return;
        }
        self.seen.end = if let Some(end) = self.end_of_lingering(went_well) {
            end
        } else if !went_well {
            end::INTERNAL_ERROR
        } else if self.client_has_failed() {
            end::CLIENT_ERROR
        } else if p.upstream_done() != 0 || (p.upstream_eof() != 0 && p.length == -1) {
            end::COMPLETE
        } else if p.upstream_error() != 0 {
            end::UPSTREAM_ERROR
        } else if p.upstream_eof() != 0 {
            end::UPSTREAM_CLOSED
        } else {
            self.seen.end
        };
    }

    /// How a response ends that nothing more was read of.
    fn end_of_lingering(&self, went_well: bool) -> Option<u32> {
        let p = &self.pipe;
        let is_whole = p.upstream_done() != 0 || p.upstream_eof() != 0;
        match self.extra.view().given_up {
            Some(GivenUp::Breach) if !went_well => Some(end::UPSTREAM_ERROR),
            Some(GivenUp::Timeout) if p.upstream_error() != 0 && !is_whole => {
                Some(end::UPSTREAM_TIMEOUT)
            }
            _ => None,
        }
    }

    fn see_spans(&mut self, went_well: bool) {
        let now = now();
        let held_back = went_well
            && !self.is_finished()
            && !self.pipe.upstream.is_null()
            && self.upstream.fd != -1
            && !self.lingers()
            && !self.extra.view().is_queued
            && (self.is_delayed_by_pipe()
                || (self.upstream_read.ready() != 0 && self.upstream_read.delayed() == 0));
        let was = self.seen.blocked.since.is_some();
        self.seen.blocked.pass(now);
        if held_back {
            let reads = self.seen.reads;
            self.seen.blocked.start(now, reads, was);
        }

        let ours = self.downstream.data == self.pipe.output_ctx;
        let awaited = went_well
            && ours
            && self.pipe.downstream_error() == 0
            && self.downstream_write.ready() == 0
            && self.downstream_write.delayed() == 0
            && (self.waiting() > 0 || (!self.is_finished() && !self.pipe.busy.is_null()));
        self.seen.waiting.pass(now);
        if awaited {
            self.seen.waiting.start(now, 0, false);
        }
    }

    /// Bytes that the client does not have yet: behind the output, and with it.
    fn waiting(&self) -> i64 {
        let header = links(self.pipe.writing)
            .filter(|&buf| std::ptr::eq(buf, &self.header_to_file))
            .map(|_| self.config.header as i64)
            .sum::<i64>();
        let queued = [self.pipe.in_, self.pipe.writing, self.pipe.out]
            .into_iter()
            .flat_map(links);
        unsent(queued.chain(self.client.bufs())) - header
    }

    fn check_counts(&mut self, went_well: bool) {
        let c = self.extra.view();
        if c.reads != self.seen.reads as u64 || c.writes != self.seen.writes as u64 {
            self.wrong("reads or writes are not counted");
        }
        if c.passed != self.seen.passed as u64 {
            self.wrong("what is passed on is not counted");
        }
        if c.loans != self.seen.loans as u64 || c.lent != self.seen.lent as u64 {
            self.wrong("loans are not counted");
        }
        let spilled = match self.config.cacheable {
            true => 0,
            false => self.disk.all_written(),
        };
        if went_well && self.pipe.writing.is_null() && c.spilled != spilled as u64 {
            self.wrong("what is spilled is not counted");
        }
        // While a thread writes, what is sent of the rest is not looked for.
        let exact = !self.config.threads;
        // It is kept to an eighth.
        let least = self.seen.peak - self.seen.peak / 8;
        if c.peak < least || (exact && c.peak > self.seen.peak) {
            self.wrong("the peak is not what has waited");
        }
        let blocked = &self.seen.blocked;
        if c.blocked_count != blocked.count as u64 || c.blocked_time != blocked.time as u64 {
            self.wrong("the time that upstream is held back is not counted");
        }
        if c.client_time != self.seen.waiting.time as u64 {
            self.wrong("the time that the client is waited for is not counted");
        }
    }

    /// The request is over.
    pub fn check_ended(&mut self) {
        if !self.counts() {
            return;
        }
        self.see_peers();
        self.check_rest();
        self.check_lingered();
        if self.extra.view().end != self.seen.end {
            self.wrong("the response has ended otherwise");
        }
        if self.extra.has_state() {
            self.check_variables();
        }
        if self.extra.has_state() && self.config.steps % 16 == 3 {
            self.check_status();
        }
    }

    /// What the access log is given.
    fn check_variables(&mut self) {
        let variables: Vec<String> = (0..11).map(|nth| self.extra.variable(nth)).collect();
        // Those of time have passed the time until now.
        let view = self.extra.view();
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let expected = [
            view.spilled.to_string(),
            view.peak.to_string(),
            self.pipe.allocated.to_string(),
            self.config.bufs.to_string(),
            view.blocked_count.to_string(),
            seconds(view.blocked_time),
            seconds(view.client_time),
            view.reads.to_string(),
            view.writes.to_string(),
            end::NAMES[view.end as usize].to_string(),
            self.extra.most_lent.to_string(),
        ];
        if variables != expected {
            self.wrong("a variable is not what was counted");
        }
    }

    /// The totals of this response alone, in both forms.
    fn check_status(&mut self) {
        let view = self.extra.view();
        let name = end::NAMES[view.end as usize];
        let [json, prometheus] = self.extra.status();
        let in_json = [
            "\"responses\": 1,".to_string(),
            format!("\"passed_bytes\": {},", view.passed),
            format!("\"reads\": {},", view.reads),
            format!("\"peak_bytes\": {{\n    \"sum\": {},", view.peak),
            format!("\"{name}\": 1"),
        ];
        let in_prometheus = [
            format!("\nnginx_event_pipe_passed_bytes_total {}\n", view.passed),
            format!("\nnginx_event_pipe_peak_bytes_sum {}\n", view.peak),
            format!("\nnginx_event_pipe_ends_total{{reason=\"{name}\"}} 1\n"),
        ];
        let is_right = in_json.iter().all(|part| json.contains(part))
            && in_prometheus.iter().all(|part| prometheus.contains(part));
        if !is_right {
            self.wrong("the totals are not those of the response");
        }
    }
}
