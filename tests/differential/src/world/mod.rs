//! One pipe and all around it: connections, filters, temporary file, client.
//!
//! Two worlds that make the same choices are driven by the same schedule, one
//! with nginx's pipe, one with ours. Pools, chains, buffers, timers and the
//! writing of temporary files are nginx's own; connections, filters, the thread
//! pool and the disk are played. Everything that a pipe does to its world is
//! put down in a trace.

mod client;
mod counts;
mod events;
mod feature;
mod file;
mod filters;
mod invariants;
mod lingering;
mod loans;
mod memory;
mod peers;
mod spilling;
mod state;
mod turns;
mod upstream;

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::mem::zeroed;
use std::ptr::null_mut;

use crate::choices::Choices;
use crate::config::{Config, Framing};
use crate::deviation::{Deviation, Repairs};
use crate::nginx as n;
use crate::trace::{Event, Names};

use client::Client;
use counts::Seen;
use feature::Extra;
use file::Disk;

pub use turns::{begin_cycle, end_cycle, start_worker};

/// Whose pipe runs in a world.
#[derive(Clone, Debug)]
pub enum Side {
    /// nginx's, with some of its defects put right.
    Stock(Repairs),
    /// This project's.
    Ours,
}

type PipeFn = unsafe extern "C" fn(*mut n::ngx_event_pipe_t, n::ngx_int_t) -> n::ngx_int_t;
type BufFn = unsafe extern "C" fn(*mut n::ngx_event_pipe_t, *mut n::ngx_buf_t) -> n::ngx_int_t;

impl Side {
    fn pipe(&self) -> PipeFn {
        match self {
            Self::Stock(_) => n::stock_ngx_event_pipe,
            Self::Ours => n::ngx_event_pipe,
        }
    }

    fn copy_input_filter(&self) -> BufFn {
        match self {
            Self::Stock(_) => n::stock_ngx_event_pipe_copy_input_filter,
            Self::Ours => n::ngx_event_pipe_copy_input_filter,
        }
    }

    fn add_free_buf(&self) -> BufFn {
        match self {
            Self::Stock(_) => n::stock_ngx_event_pipe_add_free_buf,
            Self::Ours => n::ngx_event_pipe_add_free_buf,
        }
    }
}

/// A call that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallible {
    Alloc,
    Recv,
    InputFilter,
    OutputFilter,
    Open,
    Write,
    ThreadPool,
    HandleRead,
    HandleWrite,
}

/// More calls than any schedule takes.
const ENDLESS: u32 = 1_000_000;

/// One pipe and all around it.
pub struct World {
    side: Side,
    config: Config,
    choices: Choices,
    names: Names,
    trace: Vec<Event>,

    pool: *mut n::ngx_pool_t,
    pipe: n::ngx_event_pipe_t,
    log: n::ngx_log_t,
    upstream: n::ngx_connection_t,
    upstream_read: n::ngx_event_t,
    downstream: n::ngx_connection_t,
    downstream_write: n::ngx_event_t,
    other_request: u8,
    path: n::ngx_path_t,
    temp_file: n::ngx_temp_file_t,
    header: n::ngx_buf_t,
    header_to_file: n::ngx_buf_t,
    preread: n::ngx_chain_t,
    strange: Strange,
    extra: Extra,
    seen: Seen,

    /// Calls so far that may fail, and the one that the schedule made fail.
    fallible: u32,
    failed: Option<Fallible>,
    /// Bytes of its stream that upstream has sent, and that have gone through
    /// the input filter.
    received: u64,
    filtered: u64,
    /// The body, as the input filter has found it.
    body: Vec<u8>,
    /// Raw buffers, as they are seen first.
    raw: Vec<*mut n::ngx_buf_t>,
    client: Client,
    disk: Disk,
    aio: bool,
    /// In this call, the output has been asked for the rest of a response that is cut.
    has_pushed: bool,
    /// `busy` of a pipe that is not to recycle it.
    kept_busy: *mut n::ngx_chain_t,
    /// nginx's structures point into a world, and callbacks change it while one
    /// of its own methods waits for C: the compiler must not take a reference
    /// to it for the only way in.
    _pinned: PhantomPinned,
}

/// For [`World::set_up_strange`].
struct Strange {
    raw: n::ngx_buf_t,
    preread: n::ngx_chain_t,
    shadows: [n::ngx_buf_t; 2],
    buf: n::ngx_buf_t,
    out: n::ngx_chain_t,
}

thread_local! {
    /// The world whose pipe is running.
    static CURRENT: Cell<*mut World> = const { Cell::new(null_mut()) };
}

/// The world whose pipe has called, if one is running.
fn current() -> Option<&'static mut World> {
    // SAFETY: set by `enter` while a call into the pipe runs, from a box that
    // stays where it is. A callback uses it, and no other callback runs until
    // that has returned or has let go of it.
    unsafe { CURRENT.get().as_mut() }
}

/// The world whose pipe has called.
fn world() -> &'static mut World {
    current().expect("a callback outside of a call")
}

impl World {
    /// A world ready for its first call, as `ngx_http_upstream_send_response`
    /// leaves it.
    pub fn new(side: Side, config: &Config, choices: Choices) -> Box<Self> {
        // SAFETY: C structures for which zero is valid.
        let mut world = Box::new(unsafe {
            Self {
                side,
                config: config.clone(),
                choices,
                names: Names::default(),
                trace: Vec::new(),
                pool: null_mut(),
                pipe: zeroed(),
                log: zeroed(),
                upstream: zeroed(),
                upstream_read: zeroed(),
                downstream: zeroed(),
                downstream_write: zeroed(),
                other_request: 0,
                path: zeroed(),
                temp_file: zeroed(),
                header: zeroed(),
                header_to_file: zeroed(),
                preread: zeroed(),
                strange: zeroed(),
                extra: Extra::new(),
                seen: Seen::default(),
                fallible: 0,
                failed: None,
                received: 0,
                filtered: 0,
                body: Vec::new(),
                raw: Vec::new(),
                client: Client::default(),
                disk: Disk::default(),
                aio: false,
                has_pushed: false,
                kept_busy: null_mut(),
                _pinned: PhantomPinned,
            }
        });
        world.set_up_pool();
        world.set_up_connections();
        world.set_up_temp_file();
        world.set_up_header();
        world.set_up_strange();
        world.set_up_pipe();
        world.set_up_state();
        world
    }

    fn set_up_pool(&mut self) {
        self.log.log_level = n::NGX_LOG_WARN as usize;
        if self.config.debug_log {
            self.log.log_level = n::NGX_LOG_DEBUG_EVENT as usize | n::NGX_LOG_DEBUG as usize;
        }
        // SAFETY: the log lives as long as the pool.
        self.pool = unsafe { n::ngx_create_pool(4096, &raw mut self.log) };
    }

    fn set_up_connections(&mut self) {
        let me: *mut Self = self;

        self.upstream_read.data = (&raw mut self.upstream).cast();
        self.upstream_read.log = &raw mut self.log;
        self.upstream_read.set_ready(1);
        self.upstream.read = &raw mut self.upstream_read;
        self.upstream.fd = 5;
        self.upstream.recv_chain = Some(upstream::recv_chain);
        self.upstream.data = me.cast();
        #[cfg(all(c_has_kqueue, c_has_ssl))]
        if self.config.tls {
            self.upstream.ssl = me.cast();
        }

        self.downstream_write.data = (&raw mut self.downstream).cast();
        self.downstream_write.log = &raw mut self.log;
        self.downstream_write.set_write(1);
        self.downstream_write
            .set_ready(1 - self.choices.below(2) as u32);
        self.downstream.write = &raw mut self.downstream_write;
        // A stream of QUIC has no socket of its own.
        self.downstream.fd = if self.choices.one_in(12) { -1 } else { 6 };
        self.downstream.data = me.cast();
        self.downstream
            .set_sendfile((self.config.steps % 3 == 0).into());
    }

    fn set_up_temp_file(&mut self) {
        self.path.name.data = c"t".as_ptr().cast_mut().cast();
        self.path.name.len = 1;

        let file = &mut self.temp_file;
        file.file.fd = -1;
        file.file.log = &raw mut self.log;
        file.path = &raw mut self.path;
        file.pool = self.pool;
        file.warn = c"buffered to a temporary file".as_ptr().cast_mut();
        match self.config.cacheable {
            true => file.set_persistent(1),
            false => file.set_log_level(n::NGX_LOG_WARN),
        }
    }

    /// The header, and what came with it of the body.
    fn set_up_header(&mut self) {
        // SAFETY: memory of the pool, as large as is asked for.
        unsafe {
            let memory = (*n::ngx_create_temp_buf(self.pool, self.config.header_buffer)).start;
            self.header.start = memory;
            self.header.end = memory.add(self.config.header_buffer);
            self.header.pos = memory.add(self.config.header);
            self.header.last = self.header.pos;
            self.header.set_temporary(1);
            for i in 0..self.config.preread {
                *self.header.pos.add(i) = upstream::stream_byte(i as u64);
            }
            self.header_to_file.start = memory;
            self.header_to_file.pos = memory;
            self.header_to_file.last = self.header.pos;
            self.header_to_file.set_temporary(1);
            for i in 0..self.config.header {
                *memory.add(i) = b'h';
            }
        }
        self.received = self.config.preread as u64;
        self.preread.buf = &raw mut self.header;
    }

    /// What no module of nginx leaves to a pipe, but both pipes know to handle.
    fn set_up_strange(&mut self) {
        let strange = &mut self.strange;

        if self.config.former_shadows {
            // SAFETY: a live pool; nothing else refers to the buffer.
            strange.raw = unsafe { *n::ngx_create_temp_buf(self.pool, self.config.size) };
            strange.preread.buf = &raw mut strange.raw;
            self.preread.next = &raw mut strange.preread;
            for (raw, shadow) in [&mut self.header, &mut strange.raw]
                .into_iter()
                .zip(&mut strange.shadows)
            {
                shadow.shadow = raw;
                shadow.set_last_shadow(1);
                raw.shadow = shadow;
            }
        }
        if self.config.foreign_out {
            strange.buf.set_recycled(1);
            strange.buf.file_pos = -1;
            strange.buf.file_last = -1;
            strange.out.buf = &raw mut strange.buf;
            self.pipe.out = &raw mut strange.out;
        }
    }

    fn set_up_pipe(&mut self) {
        let me: *mut Self = self;
        let config = &self.config;
        let p = &mut self.pipe;

        p.upstream = &raw mut self.upstream;
        p.downstream = &raw mut self.downstream;
        p.input_filter = Some(match config.framing {
            Framing::Copy => filters::copy,
            Framing::Chunks | Framing::Records => filters::framed,
        });
        p.input_ctx = me.cast();
        p.output_filter = Some(client::output_filter);
        p.output_ctx = me.cast();
        #[cfg(c_has_threads)]
        if config.threads {
            p.thread_handler = Some(file::thread_handler);
            p.thread_ctx = me.cast();
        }
        p.set_cacheable(config.cacheable.into());
        p.set_single_buf(config.single_buf.into());
        p.set_free_bufs(config.free_bufs.into());
        p.set_cyclic_temp_file(config.cyclic_temp_file.into());
        p.set_downstream_error(config.header_only.into());
        p.bufs.num = config.bufs as isize;
        p.bufs.size = config.size;
        p.tag = me.cast();
        p.busy_size = config.busy_size;
        p.length = config.length;
        p.max_temp_file_size = config.max_temp_file_size;
        p.temp_file_write_size = config.temp_file_write_size;
        p.read_timeout = 60_000;
        p.send_timeout = 30_000;
        p.send_lowat = 1;
        p.pool = self.pool;
        p.log = &raw mut self.log;
        p.preread_bufs = &raw mut self.preread;
        p.preread_size = config.preread;
        if config.header_to_file {
            p.buf_to_file = &raw mut self.header_to_file;
        }
        p.limit_rate = config.limit_rate;
        p.start_sec = 1_000_000;
        p.temp_file = &raw mut self.temp_file;

        if config.header == config.header_buffer && self.repairs(Deviation::FullHeader) {
            self.leave_out_preread();
        }
    }

    /// What this pipe does with a buffer without room, done before it runs.
    fn leave_out_preread(&mut self) {
        self.pipe.preread_bufs = null_mut();
        // SAFETY: a live pool; the link belongs to nobody else.
        unsafe {
            self.preread.next = (*self.pool).chain;
            (*self.pool).chain = &raw mut self.preread;
        }
    }

    /// Whether to put a defect of the C pipe right, now that it would strike.
    fn repairs(&mut self, deviation: Deviation) -> bool {
        let at = self.trace.len();
        match &mut self.side {
            Side::Stock(repairs) => repairs.act(deviation, at),
            Side::Ours => false,
        }
    }

    /// Whether a wall clock is kept from nginx's pipe: it would misuse it.
    pub fn steadies_clock(&mut self) -> bool {
        self.config.limit_rate != 0 && self.config.has_state && self.repairs(Deviation::WallClock)
    }

    /// Whether a call has ended because the output holds on to what it has: then
    /// nothing was read.
    fn note_held(&mut self, rc: isize, from: usize) {
        let calls = self.trace[from..]
            .iter()
            .rev()
            .take_while(|event| !matches!(event, Event::Recv { .. }))
            .filter(|event| matches!(event, Event::OutputFilter { .. }))
            .count();
        self.extra.is_held = rc == n::NGX_OK as isize && calls >= 11;
    }

    /// Whether a call has left without a look at the events, of which there is
    /// at least one, and is not to.
    fn leaves_unwatched(&mut self, rc: isize, from: usize) -> bool {
        let is_watched = self.trace[from..]
            .iter()
            .any(|event| matches!(event, Event::HandleRead { .. } | Event::HandleWrite { .. }));
        let me: *mut Self = self;
        let has_upstream = self.has_upstream() && self.upstream.fd != -1;
        let has_client = self.downstream.fd != -1 && self.downstream.data == me.cast();

        rc == n::NGX_OK as isize
            && !is_watched
            && (has_upstream || has_client)
            && self.repairs(Deviation::Unwatched)
    }

    /// The output has been given the last of a response that is cut: has it send what
    /// it holds.
    pub(super) fn push_rest(&mut self) {
        let p = &self.pipe;
        let is_whole = p.upstream_done() != 0 || (p.upstream_eof() != 0 && p.length == -1);
        let leaves_rest = matches!(self.side, Side::Stock(_))
            && !is_whole
            && p.downstream_done() != 0
            && p.downstream_error() == 0
            && !self.has_pushed
            && !self.client.holds_nothing()
            && self.client_is_ready();

        if leaves_rest && self.repairs(Deviation::UnsentRest) {
            self.has_pushed = true;
            // SAFETY: there is nothing in the chain.
            let result = unsafe { client::output_filter(self.pipe.output_ctx, null_mut()) };
            if result == n::NGX_ERROR as isize {
                self.pipe.set_downstream_error(1);
            }
        }
    }

    /// Whether this world can have lines in its log, or lack some, that come of
    /// a defect which the other side has not.
    fn deviates(&self, deviation: Deviation) -> bool {
        match &self.side {
            Side::Stock(repairs) => repairs.includes(deviation),
            Side::Ours => true,
        }
    }

    /// Whether a call that may fail is to fail now.
    fn fails(&mut self, call: Fallible) -> bool {
        let nth = self.fallible;
        self.fallible += 1;
        assert!(nth < ENDLESS, "the pipe does not come to an end");
        if self.config.failing == Some(nth) {
            self.failed = Some(call);
            return true;
        }
        // Memory does not fail in the middle of other trouble: what it alone
        // leads to is easier to see.
        call != Fallible::Alloc
            && self.config.faults != 0
            && self.choices.one_in(self.config.faults * 4)
    }

    /// Runs `body` with the callbacks of the pipe coming to this world.
    fn enter<R>(&mut self, body: impl FnOnce(*mut Self) -> R) -> R {
        let me: *mut Self = self;
        CURRENT.set(me);
        // SAFETY: a global of nginx that nobody else uses.
        unsafe { n::harness_first_file_name() };
        let result = body(me);
        CURRENT.set(null_mut());
        result
    }

    /// Calls the pipe, and notes its return code and the state that it leaves.
    pub fn call(&mut self, do_write: bool) -> isize {
        self.start_turn();
        self.keep_busy_after_error();
        self.has_pushed = false;
        self.see_peers();
        self.note_turn();
        let has_written = self.sends_first(do_write);
        let pipe = self.side.pipe();
        let from = self.trace.len();
        let rc = self.enter(|me| {
            // SAFETY: a pipe that is set up; callbacks come back by pointers.
            let rc = unsafe { pipe(&raw mut (*me).pipe, do_write.into()) };
            world().note_held(rc, from);
            let rc = match world().leaves_unwatched(rc, from) {
                // SAFETY: as above.
                true => unsafe { watch(&raw mut (*me).pipe) },
                false => rc,
            };
            world().push_rest();
            rc
        });
        self.give_busy_back();

        self.trace.push(Event::Returned(rc));
        let state = self.state();
        self.trace.push(Event::State(Box::new(state)));
        self.check_given_up_for_client();
        let has_waited = self.see_wait(from, has_written);
        if rc == n::NGX_OK as isize {
            self.check();
            if !has_waited {
                self.check_moved(has_written);
            }
            self.check_goes_on_later();
        }
        self.see_turn(rc);
        rc
    }

    /// What the pipe has done so far.
    pub fn trace(&self) -> &[Event] {
        &self.trace
    }

    /// The decisions so far.
    pub fn chosen(&self) -> &Choices {
        &self.choices
    }

    /// Where the decisions come from.
    pub fn choices(&mut self) -> &mut Choices {
        &mut self.choices
    }

    /// How many calls so far could have failed.
    pub fn fallible_calls(&self) -> u32 {
        self.fallible
    }

    /// The call that was made to fail by its number.
    pub fn failed_call(&self) -> Option<Fallible> {
        self.failed
    }

    /// Where the defects of nginx's pipe would have struck.
    pub fn acted(&self, deviation: Deviation) -> Option<usize> {
        match &self.side {
            Side::Stock(repairs) => repairs.acted(deviation),
            Side::Ours => None,
        }
    }

    /// The pipe itself, for what the upstream module does between calls.
    pub fn pipe(&mut self) -> &mut n::ngx_event_pipe_t {
        &mut self.pipe
    }

    /// The event of the connection to upstream.
    pub fn upstream_read(&mut self) -> &mut n::ngx_event_t {
        &mut self.upstream_read
    }

    /// The event of the connection to the client.
    pub fn downstream_write(&mut self) -> &mut n::ngx_event_t {
        &mut self.downstream_write
    }

    /// How its upstream frames the body.
    pub fn framing(&self) -> Framing {
        self.config.framing
    }

    /// Whether the request has still a connection to upstream.
    pub fn has_upstream(&self) -> bool {
        !self.pipe.upstream.is_null()
    }

    /// Whether upstream has nothing more to bring.
    pub fn is_finished(&self) -> bool {
        let p = &self.pipe;
        p.upstream_done() != 0 || p.upstream_eof() != 0 || p.upstream_error() != 0
    }

    /// The client's connection serves another request now, or ours again.
    pub fn switch_request(&mut self) {
        let me: *mut Self = self;
        let other = (&raw mut self.other_request).cast();
        self.downstream.data = if self.downstream.data == other {
            me.cast()
        } else {
            other
        };
    }

    /// Stops the timer of an event of this world, if it runs.
    pub fn stop_timer(&mut self, event: fn(&mut Self) -> &mut n::ngx_event_t) {
        let event: *mut n::ngx_event_t = event(self);
        // SAFETY: an event of this world; the tree knows it if it says so.
        unsafe {
            if (*event).timer_set() != 0 {
                n::ngx_event_pipe_glue_del_timer(event);
            }
        }
    }

    /// Destroys the pool, and with it what the request has opened.
    pub fn end(&mut self) {
        self.stop_timer(Self::upstream_read);
        self.stop_timer(Self::downstream_write);
        if self.pool.is_null() {
            return;
        }
        if self.config.http2 {
            // What was queued goes out, even when the request is over.
            self.send(u64::MAX);
        }
        let pool = std::mem::replace(&mut self.pool, null_mut());
        self.extra.is_ending = true;
        self.enter(|_| {
            // SAFETY: made in `set_up_pool`, destroyed once.
            unsafe { n::ngx_destroy_pool(pool) }
        });
        self.check_all_closed();
        self.check_all_given_back();
        self.leave_worker();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end();
    }
}

/// What nginx's pipe does last, as a rule.
///
/// # Safety
///
/// A pipe of the world whose pipe is running.
unsafe fn watch(p: *mut n::ngx_event_pipe_t) -> isize {
    // SAFETY: connections and events of that world.
    unsafe {
        if !(*p).upstream.is_null() && (*(*p).upstream).fd != -1 {
            let event = (*(*p).upstream).read;
            let is_over = (*event).eof() != 0 || (*event).error() != 0;
            let flags = if is_over { n::NGX_CLOSE_EVENT } else { 0 };
            if n::ngx_handle_read_event(event, flags as usize) != n::NGX_OK as isize {
                return n::NGX_ABORT as isize;
            }
            run_timer(event, (*p).read_timeout);
        }
        if (*(*p).downstream).fd != -1 && (*(*p).downstream).data == (*p).output_ctx {
            let event = (*(*p).downstream).write;
            if n::ngx_handle_write_event(event, (*p).send_lowat as usize) != n::NGX_OK as isize {
                return n::NGX_ABORT as isize;
            }
            run_timer(event, (*p).send_timeout);
        }
    }
    n::NGX_OK as isize
}

/// # Safety
///
/// An event of the world whose pipe is running.
unsafe fn run_timer(event: *mut n::ngx_event_t, timeout: usize) {
    // SAFETY: says the caller; the tree knows the event if it says so.
    unsafe {
        if (*event).delayed() != 0 {
            return;
        }
        if (*event).active() != 0 && (*event).ready() == 0 {
            n::ngx_event_pipe_glue_add_timer(event, timeout);
        } else if (*event).timer_set() != 0 {
            n::ngx_event_pipe_glue_del_timer(event);
        }
    }
}

/// The buffers of a chain. A step may change all links but the one at hand.
fn links(mut chain: *mut n::ngx_chain_t) -> impl Iterator<Item = *mut n::ngx_buf_t> {
    std::iter::from_fn(move || {
        // SAFETY: null, or a link of the pool.
        let link = unsafe { chain.as_ref() }?;
        chain = link.next;
        Some(link.buf)
    })
}

/// The data of a buffer that is not one of a file. Some have no memory at all,
/// which nginx's length of 0 is enough for, but no slice.
///
/// # Safety
///
/// The buffer's memory stays as it is while the data is in use.
unsafe fn data<'a>(buf: *mut n::ngx_buf_t) -> &'a [u8] {
    // SAFETY: a buffer of a world; its data lies in its memory.
    unsafe {
        if (*buf).pos.is_null() {
            return &[];
        }
        let size = (*buf).last.offset_from((*buf).pos) as usize;
        std::slice::from_raw_parts((*buf).pos, size)
    }
}

/// nginx's result for a call that went well, or not.
fn ok_unless(failed: bool) -> n::ngx_int_t {
    match failed {
        true => n::NGX_ERROR as n::ngx_int_t,
        false => n::NGX_OK as n::ngx_int_t,
    }
}
