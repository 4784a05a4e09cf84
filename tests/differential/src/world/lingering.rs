//! What becomes of a response whose upstream was given up.

use ngx_event_pipe::inspect::GivenUp;

use super::spilling::is_failure;
use super::{World, links};

impl World {
    /// Before a call.
    pub(super) fn note_lingering(&mut self) {
        self.extra.was_given_up = self.lingers();
        self.extra.was_ready = self.client_is_ready();
        self.extra.had_failed = self.pipe.downstream_error() != 0;
        self.extra.call_from = self.trace.len();
        self.extra.has_passed = false;
        self.extra.has_flushed = false;
        self.extra.is_only_flushed = false;
        self.extra.has_breached = false;
    }

    /// Upstream is about to be read.
    pub(super) fn check_not_given_up(&mut self) {
        if self.lingers() {
            self.wrong("upstream is read though it was given up");
        }
    }

    /// After a call, whatever its outcome.
    pub(super) fn check_given_up_for_client(&mut self) {
        let has_failed = self.trace[self.extra.call_from..].iter().any(is_failure);
        self.extra.lacks_memory |= self.extra.was_given_up && has_failed;
        if self.lingers() && !self.extra.was_given_up && self.extra.had_failed {
            self.wrong("a response goes on for a client that had failed");
        }
        if !self.lingers() && self.extra.has_breached && self.may_linger() {
            self.wrong("what came before is lost with what is not understood");
        }
    }

    /// After a call that went well.
    pub(super) fn check_lingering(&mut self, has_written: bool) {
        if !self.lingers() {
            return;
        }
        let is_timeout = self.extra.view().given_up == Some(GivenUp::Timeout);
        match self.is_finished() {
            false => self.check_lingers_on(has_written || self.extra.has_passed),
            true if is_timeout => self.check_lingered_out(),
            true => self.wrong("what is not understood is taken for an end"),
        }
    }

    /// It goes on for as long as the client is to get something, and then only.
    fn check_lingers_on(&mut self, has_tried: bool) {
        let p = &self.pipe;
        let has_unsent = !p.in_.is_null() || !p.out.is_null();
        let has_busy = !p.busy.is_null();
        let has_chains = has_unsent || has_busy || !p.writing.is_null();
        let holds_nothing = self.client.holds_nothing();
        let may_send = self.client_is_ready() && has_tried && p.writing.is_null() && !self.aio;

        let is_working = self.aio || !p.writing.is_null();
        let is_kept = p.cacheable() != 0 && self.has_upstream() && !is_working;

        if self.pipe.downstream_error() != 0 {
            self.wrong("a response goes on for a client that has failed");
            return;
        }
        if is_kept {
            self.wrong("a response is kept that is not whole");
        }
        // What a filter holds without a word goes on with a flush, in its turn.
        let is_flushed = self.extra.view().is_flushed;
        let may_end = is_flushed || self.client_is_ready();

        if !has_chains && holds_nothing && !self.aio && may_end {
            self.wrong("all has been sent of a response that does not end");
        }
        if may_send && self.config.busy_size > 0 && has_unsent && !has_busy {
            self.wrong("what came before upstream was given up waits for a client that waits");
        }
        if may_send && has_busy && holds_nothing {
            self.wrong("what was sent is not asked for when nothing follows");
        }
    }

    /// The response ends: the client has all, and filters hold nothing. (Where the
    /// last bytes have told of the end, the output has been given all, as ever.)
    fn check_lingered_out(&mut self) {
        let p = &self.pipe;
        if p.downstream_error() != 0 || p.downstream_done() != 0 {
            return;
        }
        let chains = [p.in_, p.out, p.busy, p.writing];
        let has_chains = chains.into_iter().flat_map(links).next().is_some();
        let is_ready = self.client_is_ready();
        let is_held = !self.client.holds_nothing();

        if has_chains || (is_held && !is_ready) {
            self.wrong("a response ends while the client is to get something");
        }
        if self.filtered != self.received {
            self.wrong("what upstream had sent stays behind when it is given up");
        }
        if self.extra.kept_back {
            self.wrong("a filter may keep back what came before upstream was given up");
        }
        if is_ready && is_held && !self.extra.has_flushed {
            self.wrong("what the output holds is not flushed at the end");
        }
    }
}
