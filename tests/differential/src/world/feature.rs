//! What this pipe has beyond nginx's: its state, and what it asks of nginx and
//! of its worker.

use std::alloc::{Layout, alloc_zeroed};
use std::ffi::c_void;
use std::iter::once;
use std::mem::zeroed;
use std::ops::Range;
use std::ptr::null_mut;

use ngx_event_pipe::inspect::{self, View};

use super::counts::unsent;
use super::loans::let_pass;
use super::{ENDLESS, Side, World, links, world};
use crate::config::Config;
use crate::feature::Feature;
use crate::nginx as n;
use crate::trace::Event;

/// The part of a world that only this pipe knows.
pub(super) struct Extra {
    /// Memory for this pipe's state, which is there from the first call on.
    state: Vec<u128>,
    /// What ends the state. Stock's world has it as well, for pools of one layout.
    cleanup: *mut n::ngx_pool_cleanup_t,
    /// The steady clock when the state was made.
    started: usize,
    /// The pool goes.
    pub(super) is_ending: bool,
    /// The response is a stream, and one without an end.
    is_stream: bool,
    is_live: bool,
    pub(super) settings: n::ngx_event_pipe_settings_t,
    /// The memory of the loans that the pipe has.
    pub(super) lent: Vec<Range<usize>>,
    /// The memory of all loans of this world, those that were given back included.
    pub(super) loans: Vec<Range<usize>>,
    /// The most bytes of loans that the pipe has had.
    pub(super) most_lent: i64,
    /// Where in the trace a feature has first done something.
    pub(super) acted: Option<usize>,
    /// What has been said to wait in upstream's socket, since the last reading.
    waiting: Option<u64>,
    /// How many raw buffers there were then.
    allocated: i64,
    /// What the client has been said to take, and whether it did not once.
    pub(super) promised: u64,
    broken: bool,
    /// Writing has failed, and what was to be kept is given up.
    pub(super) write_failed: bool,
    failed_in_call: bool,
    discarded: bool,
    /// How often the output was given more than may be busy.
    wide_writes: u32,
    /// It has just been, and once it has not sent all of that.
    is_wide: bool,
    is_disappointed: bool,
    /// Segments that were made.
    pub(super) segments: i64,
    /// When nothing was last seen to wait for the client.
    kept_up: usize,
    /// Since when upstream has been held back for the client, which has not caught up
    /// since.
    lags_since: Option<usize>,
    /// How often the pipe has asked for its state.
    asked: u32,
    /// The output may keep back what it was given last, at first the header.
    pub(super) kept_back: bool,
    /// The output has been given something.
    pub(super) has_begun: bool,
    /// The last raw buffer that was said to end the response.
    ended: *mut n::ngx_buf_t,
    /// Upstream and the client, as their timers see them.
    pub(super) peers: [super::peers::Peer; 2],
    /// When the pipe is to be looked after, if it is.
    pub(super) watch: Option<usize>,
    /// Upstream was given up, and its event is to tell the pipe.
    pub(super) is_posted: bool,
    /// Upstream had been given up, and the client had failed, before this call.
    pub(super) was_given_up: bool,
    pub(super) had_failed: bool,
    /// Where in the trace this call has begun, and whether memory has failed one
    /// after upstream was given up.
    pub(super) call_from: usize,
    pub(super) lacks_memory: bool,
    /// Whether the client took data before this call.
    pub(super) was_ready: bool,
    /// In this call, the input filter was run, and the output told to flush last.
    pub(super) has_passed: bool,
    pub(super) has_flushed: bool,
    /// In this call, a buffer has been made that only flushes, and the output has been
    /// given nothing since but that.
    makes_flush: bool,
    pub(super) is_only_flushed: bool,
    /// In this call, the input filter has failed, for a client that had not.
    pub(super) has_breached: bool,
    /// The turn of the pipe, and its wait for it.
    pub(super) turn: super::turns::Turn,
    /// In the last call, the output has held on to what it has.
    pub(super) is_held: bool,
    /// A file that was to follow could not be opened.
    pub(super) open_failed: bool,
}

const STREAM_ON: usize = n::NGX_EVENT_PIPE_STREAM_ON as usize;

/// nginx leaves a timer alone that would move by less than this.
pub(super) const LAZY: usize = 300;

fn has_unknown_filter(config: &Config) -> bool {
    config.steps % 32 == 5
}

impl Extra {
    /// Not with a filter that is not known, unless segments are asked for.
    pub(super) fn may_close(&self, config: &Config) -> bool {
        let asks = self.settings.spill_segments == n::NGX_EVENT_PIPE_SEGMENTS_ON as usize;
        (asks || !has_unknown_filter(config)) && self.copy_filter_lets_close(config)
    }

    /// Not with a filter that needs data in memory, and sendfile; and it is not
    /// known before there is output.
    fn copy_filter_lets_close(&self, config: &Config) -> bool {
        self.has_begun && config.steps % 8 != 0
    }

    /// Whether the pipe has a state by now.
    pub(super) fn has_state(&self) -> bool {
        !self.state.is_empty()
    }

    /// A variable of the access log, by its number.
    pub(super) fn variable(&mut self, number: usize) -> String {
        let mut text = vec![0; n::NGX_EVENT_PIPE_RUST_VARIABLE_LEN as usize];
        let start = text.as_mut_ptr();
        let state = self.state.as_mut_ptr().cast();
        // SAFETY: a state of a pipe that exists, and memory for the text.
        let end = unsafe { n::ngx_event_pipe_rust_variable(state, number, start) };
        text.truncate(end as usize - start as usize);
        String::from_utf8(text).expect("a text")
    }

    /// The totals of this response alone, as JSON and for Prometheus.
    pub(super) fn status(&mut self) -> [String; 2] {
        let state = self.state.as_mut_ptr().cast();
        let size = inspect::BOARD_SIZE;
        let mut memory = vec![0_u8; size + 64];
        let offset = memory.as_ptr().align_offset(64);
        let board = memory[offset..].as_mut_ptr().cast::<c_void>();
        // SAFETY: aligned memory for a board of one lane, all bytes zero.
        unsafe { n::ngx_event_pipe_rust_create_board(board, size) };
        // SAFETY: a state of a pipe that exists, and a board.
        unsafe { inspect::count(state, board) };
        [0, 1].map(|format| {
            let mut page = std::mem::MaybeUninit::zeroed();
            let chosen = page.as_mut_ptr();
            // SAFETY: a board, no header, and a structure to fill in.
            unsafe { n::ngx_event_pipe_rust_choose(board, format, std::ptr::null(), chosen) };
            // SAFETY: filled in above; all bytes zero are valid as well.
            let mut page: n::ngx_event_pipe_page_t = unsafe { page.assume_init() };
            let mut text = vec![0_u128; page.memory.div_ceil(size_of::<u128>())];
            let start = text.as_mut_ptr().cast();
            // SAFETY: as much memory as the page asks for.
            unsafe { n::ngx_event_pipe_rust_status(board, start, &raw mut page) };
            // SAFETY: the text is in `text`.
            let bytes = unsafe { std::slice::from_raw_parts(page.text.data, page.text.len) };
            String::from_utf8(bytes.to_vec()).expect("a text")
        })
    }

    /// What this pipe's state holds now.
    pub(super) fn view(&self) -> View {
        match self.has_state() {
            // SAFETY: made by the pipe; the world still has its pipe.
            true => unsafe { View::of(self.state.as_ptr().cast()) },
            false => View::default(),
        }
    }

    /// The steady clock when the response started.
    pub(super) fn started(&self) -> usize {
        self.started
    }

    pub(super) fn new() -> Self {
        // SAFETY: C structures for which zero is valid.
        unsafe {
            Self {
                state: Vec::new(),
                cleanup: null_mut(),
                started: 0,
                is_ending: false,
                is_stream: false,
                is_live: false,
                settings: zeroed(),
                lent: Vec::new(),
                loans: Vec::new(),
                most_lent: 0,
                acted: None,
                waiting: None,
                allocated: 0,
                promised: 0,
                broken: false,
                write_failed: false,
                failed_in_call: false,
                discarded: false,
                wide_writes: 0,
                is_wide: false,
                is_disappointed: false,
                segments: 0,
                kept_up: 0,
                lags_since: None,
                asked: 0,
                kept_back: true,
                has_begun: false,
                ended: null_mut(),
                peers: Default::default(),
                watch: None,
                is_posted: false,
                was_given_up: false,
                had_failed: false,
                call_from: 0,
                lacks_memory: false,
                was_ready: false,
                has_passed: false,
                has_flushed: false,
                makes_flush: false,
                is_only_flushed: false,
                has_breached: false,
                turn: Default::default(),
                is_held: false,
                open_failed: false,
            }
        }
    }
}

impl World {
    pub(super) fn set_up_state(&mut self) {
        // SAFETY: a live pool.
        self.extra.cleanup = unsafe { n::real_ngx_pool_cleanup_add(self.pool, 0) };
        let extra = &mut self.extra;
        // What is chosen here must not be a choice: stock makes none.
        let steps = self.config.steps as usize;
        let feature = self.config.feature;
        let is_on = |one| feature == Some(one) || feature == Some(Feature::Together);
        // Those about spilling meet, and a wait for the client uses the timer of
        // upstream's timeout.
        let meets = |one| feature == Some(one) && steps % 2 == 0;

        extra.settings.extensions = feature.is_some().into();
        extra.settings.wide = (is_on(Feature::Wide) || is_on(Feature::Memory)).into();
        if is_on(Feature::Memory) {
            // The worker may lend none, one, two or many loans.
            extra.settings.memory = [20, 50, 100, 300, 1000][steps % 5];
        }
        if is_on(Feature::Stream) {
            extra.settings.stream = n::NGX_EVENT_PIPE_STREAM_AUTO as usize;
            extra.is_stream = true;
            // What has no end is not spilled, of which nothing tells when.
            if steps % 4 == 0 {
                extra.is_live = true;
                extra.acted = Some(0);
            }
            if steps % 4 == 1 {
                // Whatever its type is.
                extra.settings.stream = STREAM_ON;
            }
        }
        let spills = meets(Feature::Segments) || meets(Feature::Delay);
        extra.settings.spill_fallback = (spills || is_on(Feature::Fallback)).into();
        if spills || is_on(Feature::Segments) {
            extra.settings.spill_segments = match steps % 64 {
                5 => n::NGX_EVENT_PIPE_SEGMENTS_ON,
                _ => n::NGX_EVENT_PIPE_SEGMENTS_AUTO,
            } as usize;
        }
        if meets(Feature::Timeouts) || feature == Some(Feature::Delay) || meets(Feature::Together) {
            extra.settings.spill_delay = 100 + 300 * (steps % 3);
        }
        if is_on(Feature::Turns) {
            extra.settings.max_chunk = 1 + 13 * (steps % 5);
        }
        extra.kept_up = now();
        extra.settings.separate_timeouts = is_on(Feature::Timeouts).into();
        if is_on(Feature::Timeouts) && steps % 3 == 2 {
            // Some that pass within a schedule.
            self.pipe.read_timeout = 400;
            self.pipe.send_timeout = 6000;
            extra.acted = Some(0);
        }
    }

    /// Makes this pipe's state, with the first call, and has it ended with the pool.
    fn open_state(&mut self) {
        let extra = &mut self.extra;
        let content_type: &[u8] = match (extra.is_stream, extra.is_live) {
            (false, _) => b"text/html",
            (true, false) if extra.settings.stream == STREAM_ON => b"text/html",
            (true, false) => b"application/x-ndjson",
            (true, true) => b"text/event-stream; charset=utf-8",
        };
        let content_type = n::ngx_str_t {
            len: content_type.len(),
            data: content_type.as_ptr().cast_mut(),
        };
        // SAFETY: only tells a size.
        let size = unsafe { n::ngx_event_pipe_rust_state_size() };
        extra.state = vec![0; size.div_ceil(size_of::<u128>())];
        extra.started = now();
        let state = extra.state.as_mut_ptr().cast();
        let settings = &raw mut extra.settings;
        // Without a status page, nobody counts.
        let board = match self.config.steps % 8 {
            7 => null_mut(),
            _ => board(),
        };
        // SAFETY: memory of that size, this world's pipe and its live pool.
        unsafe {
            let pipe = &raw mut self.pipe;
            n::ngx_event_pipe_rust_open(state, pipe, settings, &content_type, board, 0);
            (*extra.cleanup).handler = Some(close_state);
            (*extra.cleanup).data = state.cast();
        }
    }

    /// Before memory for a segment is allocated.
    pub(super) fn check_may_segment(&mut self) {
        self.act();
        let config = &self.config;
        if config.cyclic_temp_file || config.max_temp_file_size == 0 || self.pipe.cacheable() != 0 {
            self.trace.push(Event::Wrong(
                "a response has segments that has one file, or none",
            ));
        }
        // The first is nginx's own file.
        if self.extra.segments > 0 && !self.may_follow() {
            self.wrong("a file follows that may not");
        }
    }

    /// Whether upstream may be held back before something is spilled.
    pub(super) fn may_delay(&self) -> bool {
        self.extra.settings.spill_delay > 0
    }

    /// Whether it has handed over more than may be busy, before the end, and
    /// not only once.
    pub fn writes_wide(&self) -> bool {
        self.extra.wide_writes > 1
    }

    /// Where a feature has first done something.
    pub fn feature_acted(&self) -> Option<usize> {
        self.extra.acted
    }

    pub(super) fn act(&mut self) {
        let at = self.trace.len();
        self.extra.acted.get_or_insert(at);
    }

    /// What was promised in an earlier turn is no longer true; and the worker
    /// has files enough, or none but nginx's.
    pub(super) fn start_turn(&mut self) {
        self.note_timers();
        self.note_lingering();
        self.extra.promised = 0;
        self.extra.ended = null_mut();
        self.set_up_worker();
    }

    /// What is so in this world's worker.
    pub(super) fn set_up_worker(&self) {
        name_filter(has_unknown_filter(&self.config));
        inspect::set_lowered(self.config.steps % 32 == 9);
        if self.config.steps % 4 == 3 {
            let_pass();
        }
        inspect::set_segments_max(if self.config.steps % 16 == 1 { 0 } else { 100 });
    }

    /// Whether the temporary file may be followed by another one.
    pub(super) fn may_follow(&self) -> bool {
        self.config.steps % 16 != 1
            && self.extra.may_close(&self.config)
            && !self.extra.view().is_last_file
    }

    /// Whether what has come goes on, in the end, although nothing more is read.
    pub(super) fn may_linger(&self) -> bool {
        self.config.has_state && self.extra.settings.extensions != 0
    }

    /// Upstream cannot be read on: that of nginx ends there.
    pub(super) fn note_breach(&mut self) {
        if self.may_linger() {
            self.act();
        }
    }

    /// How much the output takes at least of the `given` bytes and what it has.
    /// As a rule the promise is kept; what is left of it is promised still.
    pub(super) fn promised(&mut self, given: u64) -> u64 {
        let promised = self.extra.promised;
        let left = promised.saturating_sub(given);
        // Unless it suffices for as much again, the pipe asks anew.
        self.extra.promised = if left > given { left } else { 0 };
        if promised > 0 && self.choices.one_in(8) {
            self.extra.broken = true;
            return 0;
        }
        promised
    }

    /// What the output was given last, it has taken or not.
    pub(super) fn note_taken(&mut self) {
        let is_left = self.client.bufs().any(|buf| unsent(once(buf)) > 0);
        self.extra.is_disappointed |= std::mem::take(&mut self.extra.is_wide) && is_left;
    }

    /// Whether more may be busy than the busy size: what was lent counts for
    /// the worker, and a client may be other than it seemed, or fail.
    pub(super) fn may_exceed_busy_size(&self) -> bool {
        self.extra.broken
            || (self.extra.acted.is_some() && self.pipe.downstream_error() != 0)
            || self.has_loan()
    }

    /// Before buffers are received into: there are as many as are needed for what waits, and a loan takes no more
    /// than the client does.
    pub(super) fn check_reading(&mut self, bufs: &[*mut n::ngx_buf_t], limit: i64) {
        let waiting = self.extra.waiting.take();
        if bufs.iter().any(|&buf| self.is_lent(buf)) {
            self.check_reading_into_loan(bufs, limit, waiting);
            return;
        }
        self.check_reading_own(bufs, limit, waiting);
    }

    fn check_reading_own(&mut self, bufs: &[*mut n::ngx_buf_t], limit: i64, waiting: Option<u64>) {
        if self.config.single_buf && bufs.len() > 1 {
            self.wrong("more than one buffer is received into, one by one");
        }
        if self.config.feature != Some(Feature::Wide) || !self.config.has_state {
            return;
        }
        let allocated = self.pipe.allocated as i64;
        let may_have_more = allocated < self.config.bufs && !self.config.single_buf;
        let Some(waiting) = waiting else {
            if may_have_more {
                self.wrong("what waits is not asked for");
            }
            return;
        };

        let waiting = match limit {
            0 => waiting,
            limit => waiting.min(limit as u64),
        };
        // SAFETY: raw buffers of the pool.
        let room = |buf: &*mut n::ngx_buf_t| unsafe { (**buf).end.offset_from((**buf).last) };
        let all: isize = bufs.iter().map(room).sum();
        // New ones come last.
        let before_last = all - bufs.last().map_or(0, room);
        let is_extended =
            std::mem::replace(&mut self.extra.allocated, allocated) != allocated && bufs.len() > 1;

        if is_extended && before_last as u64 >= waiting {
            self.wrong("more buffers are allocated than what waits needs");
        }
        if may_have_more && (all as u64) < waiting {
            self.wrong("fewer buffers are allocated than what waits needs");
        }
    }

    /// Before something is written to the disk, and when that has failed.
    pub(super) fn check_may_write(&mut self) {
        if self.extra.write_failed {
            self.wrong("it spills again after that has failed");
        }
        if self.is_live() && self.pipe.cacheable() == 0 {
            self.wrong("a stream that is live is spilled");
        }
        let is_early = now() - self.extra.kept_up < self.extra.settings.spill_delay;
        if is_early && self.config.has_state && self.pipe.cacheable() == 0 {
            self.wrong("it spills before the client has fallen behind for so long");
        }
    }

    pub(super) fn note_write_failed(&mut self) {
        if self.extra.settings.spill_fallback != 0 && self.config.has_state {
            self.act();
            self.extra.write_failed = true;
            self.extra.failed_in_call = true;
        }
    }

    /// A client that could take data gets some when the pipe is told to write,
    /// and when spilling has failed: nobody but the pipe itself may wake it then.
    pub(super) fn check_goes_on(&mut self, has_written: bool) {
        let p = &self.pipe;
        let write = &self.downstream_write;
        let is_ready = self.downstream.data == p.output_ctx
            && write.ready() != 0
            && write.delayed() == 0
            && p.downstream_error() == 0
            && self.config.busy_size > 0;
        let waits = !p.in_.is_null() && p.busy.is_null();
        let is_asked = has_written && p.writing.is_null() && p.cacheable() == 0;
        let has_failed = std::mem::take(&mut self.extra.failed_in_call);

        if (has_failed || is_asked) && is_ready && waits {
            self.wrong("data waits in memory for a client that waits for it");
        }
    }

    /// Upstream is not held back for longer than the client is given to catch up.
    fn check_waits_no_longer(&mut self) {
        if !self.is_delayed_by_pipe() {
            return;
        }
        let since = *self.extra.lags_since.get_or_insert(now());
        let latest = since + self.extra.settings.spill_delay + LAZY;
        if self.upstream_read.timer_set() != 0 && self.upstream_read.timer.key > latest {
            self.wrong("upstream is held back longer than the client may lag");
        }
    }

    /// Whoever waits is woken up.
    pub(super) fn check_wakes_up(&mut self) {
        let p = &self.pipe;
        if p.in_.is_null() && p.out.is_null() && p.busy.is_null() && p.writing.is_null() {
            self.extra.kept_up = now();
            self.extra.lags_since = None;
        }
        self.check_waits_no_longer();
        let read = &self.upstream_read;
        let latest = now() + self.extra.settings.spill_delay;
        let wakes = read.delayed() != 0 && read.timer_set() != 0 && read.timer.key <= latest;
        let waits = self.is_delayed_by_pipe();
        let is_left_delayed = !waits && self.config.limit_rate == 0 && read.delayed() != 0;
        // If nothing may be busy, nothing can be sent, and the pipe gives up each turn.
        // nginx refuses such a configuration.
        let can_send = self.config.busy_size > 0;
        if waits && !wakes && can_send && !self.extra.view().is_queued {
            self.wrong("it waits for the client, and nobody wakes it up");
        }
        if is_left_delayed && self.config.feature == Some(Feature::Delay) {
            self.wrong("upstream is delayed, and nobody waits");
        }
    }

    /// Whether the file is to be kept, and what comes of it otherwise.
    pub(super) fn keeps_file(&mut self) -> bool {
        let keeps = self.pipe.cacheable() != 0;
        if self.config.cacheable && keeps == self.extra.discarded {
            self.wrong("a file is kept that is not whole, or given up without a word");
        }
        keeps
    }

    /// Whether upstream waits until the client catches up.
    pub(super) fn is_delayed_by_pipe(&self) -> bool {
        self.extra.view().is_upstream_delayed
    }

    /// Whether what the client does not take must not go to disk.
    pub(super) fn is_live(&self) -> bool {
        self.extra.is_live && self.config.has_state
    }

    fn carries_stream(&self) -> bool {
        self.extra.is_stream && self.config.has_state
    }

    /// Whether the output is called for what it holds, although nothing new is sent.
    fn follows_up(&self) -> bool {
        self.carries_stream() || self.may_lend()
    }

    /// What the output holds is sent as soon as the client takes it, and does not wait
    /// for upstream.
    pub(super) fn check_sends_on(&mut self, has_written: bool) {
        let is_asked = has_written || self.lingers();
        let has_asked = self.trace[self.extra.call_from..]
            .iter()
            .any(|event| matches!(event, Event::OutputFilter { .. }));
        let p = &self.pipe;
        // What a thread writes comes next, and the result of that wakes the pipe.
        let is_next = p.writing.is_null();
        let is_held = is_next && !self.client.holds_nothing();
        let may_send = self.extra.was_ready && self.client_is_ready() && p.downstream_error() == 0;

        let follows_up = self.follows_up() || self.lingers();

        if follows_up && is_asked && is_held && may_send && !has_asked {
            self.wrong("what the output holds waits, and the client takes it");
        }
    }

    /// The input filter is about to get a raw buffer. Nothing but a stream makes
    /// the pipe pass on one that is neither full nor the last.
    pub(super) fn check_passed(&mut self, raw: *mut n::ngx_buf_t) {
        self.extra.has_passed = true;
        // SAFETY: a raw buffer of the pool.
        let (size, room) = unsafe {
            let raw = &*raw;
            (raw.last.offset_from(raw.pos), raw.end.offset_from(raw.last))
        };
        let p = &self.pipe;
        let is_last = p.length != -1 && size as i64 >= p.length;
        let is_ended = self.extra.ended == raw || self.lingers();
        if !self.carries_stream() || room == 0 || is_last || is_ended || self.is_finished() {
            return;
        }
        let is_alone = !self.has_unsent() && p.busy.is_null();
        self.act();
        if !is_alone {
            self.wrong("more than one partly filled buffer is on its way");
        }
        if self.can_read() {
            self.wrong("a partly filled buffer goes on though more can be read");
        }
    }

    /// Whether upstream has more, as far as nginx knows.
    pub(super) fn can_read(&self) -> bool {
        let read = &self.upstream_read;
        self.has_upstream() && read.ready() != 0 && read.delayed() == 0
    }

    /// Whether nothing more is read of upstream.
    pub(super) fn lingers(&self) -> bool {
        self.extra.view().given_up.is_some()
    }

    /// The output is about to get a chain.
    pub(super) fn note_handed_over(&mut self, chain: *mut n::ngx_chain_t) {
        self.extra.has_begun = true;
        let Some(last) = links(chain).last() else {
            // Asked for the rest, the output holds on to it for other reasons.
            self.extra.kept_back = false;
            self.extra.is_only_flushed = false;
            let may_flush = self.config.busy_size > 0 && self.busy_bytes() >= self.config.busy_size;
            if self.follows_up() && !may_flush {
                self.act();
            }
            return;
        };
        self.extra.is_only_flushed = std::mem::take(&mut self.extra.makes_flush);
        // SAFETY: a buffer of the pool.
        let flushes = unsafe { (*last).flush() != 0 };
        self.extra.kept_back = !flushes;
        self.extra.has_flushed = flushes;
        if flushes {
            self.act();
        }
        let follows = (self.can_read() && !self.lingers()) || !self.pipe.in_.is_null();
        if flushes && follows {
            self.wrong("the output is told to flush though more is to follow");
        }
        if self.is_finished() {
            self.note_given_last(chain);
        }
        // SAFETY: as above.
        let is_memory = |buf: &*mut n::ngx_buf_t| unsafe { (**buf).in_file() } == 0;
        let in_memory = unsent(links(chain).filter(is_memory));
        let limit = self.config.busy_size as i64;
        self.extra.is_wide = limit > 0 && in_memory > limit && !self.is_finished();
        if self.extra.is_wide {
            self.extra.wide_writes += 1;
            if self.extra.is_disappointed && self.config.feature == Some(Feature::Wide) {
                self.wrong("more is expected of a client that has not taken as much before");
            }
        }
    }

    /// Of a response that is cut, nothing may be postponed: no end follows that would
    /// make the output send it.
    fn note_given_last(&mut self, chain: *mut n::ngx_chain_t) {
        let p = &self.pipe;
        let is_whole = p.upstream_done() != 0 || (p.upstream_eof() != 0 && p.length == -1);
        // SAFETY: buffers of the pool.
        let is_recycled = |buf: *mut n::ngx_buf_t| unsafe { (*buf).recycled() } != 0;
        // SAFETY: as above.
        let is_shadow = |buf: &*mut n::ngx_buf_t| !unsafe { (**buf).shadow }.is_null();
        if links(chain).any(is_recycled) {
            if is_whole {
                self.wrong("what is given last is sent at once though the end follows");
            }
            self.act();
        }
        let extends = self.config.has_state && self.config.feature.is_some();
        let may_postpone = links(chain).filter(is_shadow).any(|buf| !is_recycled(buf));
        // What is cacheable is in the file, as under nginx.
        let is_from_file = self.pipe.cacheable() != 0;
        if extends && !is_whole && !is_from_file && matches!(self.side, Side::Ours) && may_postpone
        {
            self.wrong("the last bytes of a response that is cut may be postponed");
        }
    }

    /// What was sent is about to be sorted from what is busy.
    pub(super) fn note_sorted(&mut self) {
        if self.follows_up() && !matches!(self.trace.last(), Some(Event::OutputFilter { .. })) {
            self.act();
        }
    }

    /// What was sent has been sorted from what is busy.
    pub(super) fn note_caught_up(&mut self) {
        if !self.has_unsent() && self.pipe.busy.is_null() {
            self.extra.lags_since = None;
        }
    }

    fn has_unsent(&self) -> bool {
        let p = &self.pipe;
        !p.out.is_null() || !p.in_.is_null() || !p.writing.is_null()
    }

    /// After a call: what has come of a stream has gone on to a client that
    /// waits for it.
    pub(super) fn check_stream(&mut self, has_written: bool) {
        let me: *mut Self = self;
        let p = &self.pipe;
        let client_waits = self.downstream.data == me.cast()
            && self.downstream_write.ready() != 0
            && self.downstream_write.delayed() == 0
            && p.downstream_error() == 0;
        let has_more = self.upstream_read.ready() != 0 && self.upstream_read.delayed() == 0;
        if !self.carries_stream()
            || !client_waits
            || !self.has_upstream()
            || has_more
            || self.aio
            || self.has_unsent()
            || self.is_finished()
            || self.lingers()
        {
            return;
        }
        let has_partial = self.partial().is_some();
        let has_busy = !p.busy.is_null();

        if self.extra.kept_back {
            self.wrong("the output may keep back what it was given");
        }
        if has_partial && !has_busy {
            self.wrong("a stream waits for a buffer to be full");
        }
        if has_written && has_busy && self.client.holds_nothing() {
            self.wrong("a stream waits for what was sent");
        }
    }

    /// After a call: a filter may not pass a flush on, so the output is asked again for
    /// what it then holds.
    pub(super) fn check_flushed(&mut self) {
        let is_held = self.pipe.downstream_error() == 0 && !self.client.holds_nothing();
        if self.extra.is_only_flushed && is_held && self.client_is_ready() {
            self.wrong("what a flush has not reached stays with the output");
        }
    }

    /// A partly filled buffer in which the response seems to end goes on.
    pub(super) fn check_seen_end(&mut self) {
        if self.partial().is_some_and(|raw| raw == self.extra.ended) {
            self.wrong("a response seems to end in a buffer that does not go on");
        }
    }

    /// The first of the free raw buffers, if it is filled in part.
    pub(super) fn partial(&self) -> Option<*mut n::ngx_buf_t> {
        let first = links(self.pipe.free_raw_bufs).next();
        // SAFETY: a raw buffer of the pool.
        first.filter(|&raw| unsafe { (*raw).pos != (*raw).last })
    }
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_state(
    _: *mut n::ngx_event_pipe_t,
) -> *mut n::ngx_event_pipe_state_t {
    let w = world();
    w.extra.asked += 1;
    assert!(w.extra.asked < ENDLESS, "the pipe does not come to an end");
    match w.extra.has_state() {
        true => w.extra.state.as_mut_ptr().cast(),
        false => null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_open_state(
    p: *mut n::ngx_event_pipe_t,
) -> *mut n::ngx_event_pipe_state_t {
    let w = world();
    if w.config.has_state && !w.extra.has_state() {
        w.open_state();
    }
    ngx_event_pipe_glue_state(p)
}

/// As nginx does when a worker starts.
fn name_filter(is_unknown: bool) {
    let name = match is_unknown {
        true => c"ngx_http_subs_filter_module",
        false => c"ngx_http_sub_filter_module",
    };
    inspect::forget_filters();
    // SAFETY: a string of C.
    unsafe { n::ngx_event_pipe_rust_note_filter(name.as_ptr()) }
}

/// The pool goes, and with it the request.
unsafe extern "C" fn close_state(state: *mut c_void) {
    let waits = usize::from(world().config.steps % 2 == 0);
    // SAFETY: the state of a world whose pipe still exists.
    unsafe { n::ngx_event_pipe_rust_close(state.cast(), waits) }
    // SAFETY: a board.
    let [active, disk, lent] = unsafe { inspect::in_use(board()) };
    assert!(
        active != 0 || (disk, lent) == (0, 0),
        "no response is left, but {disk} bytes on disk and {lent} bytes lent"
    );
}

/// The board on which all of this thread's responses are counted.
fn board() -> *mut c_void {
    thread_local! {
        static BOARD: *mut c_void = new_board();
    }
    BOARD.with(|board| *board)
}

/// An empty board with one lane, which stays until the process ends.
fn new_board() -> *mut c_void {
    let layout = Layout::from_size_align(inspect::BOARD_SIZE, 64).expect("a small size");
    // SAFETY: the size is not zero.
    let board: *mut c_void = unsafe { alloc_zeroed(layout) }.cast();
    // SAFETY: aligned memory for a board of one lane, all bytes zero.
    unsafe { n::ngx_event_pipe_rust_create_board(board, inspect::BOARD_SIZE) };
    board
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_discard(_: *mut n::ngx_event_pipe_t) {
    world().extra.discarded = true;
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_may_close(_: *mut n::ngx_event_pipe_t) -> n::ngx_uint_t {
    let w = world();
    w.act();
    usize::from(w.extra.copy_filter_lets_close(&w.config))
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_aio(p: *mut n::ngx_event_pipe_t) -> n::ngx_uint_t {
    let _ = p;
    world().aio.into()
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_seems_ended(
    _: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> n::ngx_uint_t {
    let w = world();
    w.act();
    if w.can_read() {
        w.wrong("an end is looked for though more can be read");
    }
    if w.config.single_buf {
        w.wrong("an end is looked for in single-buffer mode");
    }
    // What is chosen here must not be a choice: stock makes none.
    let seems = w.received % 5 == 0;
    if seems {
        w.extra.ended = raw;
    }
    seems.into()
}

pub(super) fn now() -> usize {
    // SAFETY: a variable that the harness sets.
    unsafe { n::ngx_current_msec }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_add_timer(
    event: *mut n::ngx_event_t,
    timer: n::ngx_msec_t,
) {
    let w = world();
    if w.is_delayed_by_pipe() {
        // Spilling waits.
        w.act();
    }
    // SAFETY: as the pipe has called.
    unsafe { n::real_ngx_event_pipe_glue_add_timer(event, timer) }
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_room(_: *mut n::ngx_event_pipe_t) -> usize {
    let w = world();
    w.act();
    if !w.pipe.busy.is_null() {
        w.wrong("the client's room is asked for while something is busy");
    }
    if w.extra.promised > 0 {
        w.wrong("the client's room is asked for though enough of it is left");
    }
    w.extra.promised = match w.client.holds_nothing() {
        true => w.choices.pick(&[0, 1000, 10, 40]),
        false => 0,
    };
    w.extra.promised as usize
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_output_holds(_: *mut n::ngx_event_pipe_t) -> n::ngx_uint_t {
    (!world().client.holds_nothing()).into()
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_waiting(_: *mut n::ngx_connection_t) -> usize {
    let w = world();
    w.act();
    let has_all = w.pipe.allocated as i64 >= w.config.bufs;
    if w.config.feature == Some(Feature::Wide) && has_all {
        w.wrong("what waits is asked for in vain");
    }
    let left = w.config.stream - w.received;
    let waiting = match w.choices.below(3) {
        0 => 0,
        1 => w.choices.below(left + 1),
        _ => left,
    };
    w.extra.waiting = Some(waiting);
    waiting as usize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_flush_buf(pool: *mut n::ngx_pool_t) -> *mut n::ngx_buf_t {
    let w = world();
    w.act();
    w.extra.makes_flush = true;
    // SAFETY: as the pipe has called.
    unsafe { n::real_ngx_event_pipe_glue_flush_buf(pool) }
}
