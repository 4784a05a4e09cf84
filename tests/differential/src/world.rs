//! One pipe and all around it: connections, filters, temporary file, client.
//!
//! Two worlds with the same seed are driven by the same schedule, one with
//! nginx's pipe, one with ours. Everything that a pipe does to its world is put
//! down in a trace, with addresses replaced by numbers in the order in which
//! they appear.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr::null_mut;

use crate::config::{Config, Framing};
use crate::dice::Dice;
use crate::nginx as n;

/// The functions that differ between the two worlds.
#[derive(Clone, Copy)]
pub struct Side {
    /// Its known defects are put right by the harness, so that everything else
    /// can be compared where they would strike.
    pub is_stock: bool,
    pub pipe: unsafe extern "C" fn(*mut n::ngx_event_pipe_t, n::ngx_int_t) -> n::ngx_int_t,
    pub copy: unsafe extern "C" fn(*mut n::ngx_event_pipe_t, *mut n::ngx_buf_t) -> n::ngx_int_t,
    pub add_free: unsafe extern "C" fn(*mut n::ngx_event_pipe_t, *mut n::ngx_buf_t) -> n::ngx_int_t,
}

pub const STOCK: Side = Side {
    is_stock: true,
    pipe: n::stock_ngx_event_pipe,
    copy: n::stock_ngx_event_pipe_copy_input_filter,
    add_free: n::stock_ngx_event_pipe_add_free_buf,
};

pub const OURS: Side = Side {
    is_stock: false,
    pipe: n::ngx_event_pipe,
    copy: n::ngx_event_pipe_copy_input_filter,
    add_free: n::ngx_event_pipe_add_free_buf,
};

/// Something that a pipe did, or that was found about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Alloc {
        size: usize,
        failed: bool,
    },
    Free(u32),
    Log {
        level: usize,
        err: i32,
        text: String,
    },
    Recv {
        buffers: Vec<[i64; 2]>,
        limit: i64,
        result: isize,
    },
    InputFilter {
        raw: Vec<i64>,
        result: isize,
    },
    OutputFilter {
        buffers: Vec<Vec<i64>>,
        result: isize,
    },
    HandleRead {
        flags: usize,
        failed: bool,
    },
    HandleWrite {
        lowat: usize,
        failed: bool,
    },
    WriteFile {
        buffers: Vec<Vec<i64>>,
        offset: i64,
        thread: Vec<i64>,
        result: isize,
    },
    Returned(isize),
    State(Vec<i64>),
    /// An invariant does not hold.
    Wrong(&'static str),
}

pub struct World {
    side: Side,
    config: Config,
    dice: Dice,
    names: HashMap<usize, u32>,
    pub trace: Vec<Event>,

    pool: *mut n::ngx_pool_t,
    pub pipe: n::ngx_event_pipe_t,
    log: n::ngx_log_t,
    upstream: n::ngx_connection_t,
    upstream_read: n::ngx_event_t,
    downstream: n::ngx_connection_t,
    downstream_write: n::ngx_event_t,
    other_request: u8,
    file: n::ngx_temp_file_t,
    header: n::ngx_buf_t,
    header_to_file: n::ngx_buf_t,
    preread: n::ngx_chain_t,

    allocations: u32,
    /// Bytes that upstream has sent.
    received: u64,
    /// The body, as the input filter has found it.
    body: Vec<u8>,
    /// Bytes of it that the client has.
    sent: usize,
    /// What the output holds.
    output: Vec<*mut n::ngx_buf_t>,
    written: Vec<u8>,
    /// What a thread is writing, and where to.
    thread: Option<(*mut n::ngx_chain_t, i64)>,
    pub aio: bool,
    task: u64,
}

thread_local! {
    /// The world whose pipe is running.
    static CURRENT: Cell<*mut World> = const { Cell::new(null_mut()) };
}

/// The byte that upstream sends at a place of its stream.
fn stream_byte(at: u64) -> u8 {
    (at.wrapping_mul(131) ^ (at >> 3)) as u8
}

impl World {
    /// A world ready for its first call, as `ngx_http_upstream_send_response`
    /// leaves it.
    pub fn new(side: Side, config: &Config, dice: Dice) -> Box<Self> {
        // SAFETY: C structures for which zero is valid.
        let mut world = Box::new(unsafe {
            Self {
                side,
                config: config.clone(),
                dice,
                names: HashMap::new(),
                trace: Vec::new(),
                pool: null_mut(),
                pipe: zeroed(),
                log: zeroed(),
                upstream: zeroed(),
                upstream_read: zeroed(),
                downstream: zeroed(),
                downstream_write: zeroed(),
                other_request: 0,
                file: zeroed(),
                header: zeroed(),
                header_to_file: zeroed(),
                preread: zeroed(),
                allocations: 0,
                received: 0,
                body: Vec::new(),
                sent: 0,
                output: Vec::new(),
                written: Vec::new(),
                thread: None,
                aio: false,
                task: 0,
            }
        });
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        let me: *mut Self = self;
        let config = self.config.clone();

        // Allocations of the harness itself are neither traced nor failed.
        CURRENT.set(null_mut());

        self.log.log_level = n::NGX_LOG_WARN as usize;
        if config.debug_log {
            self.log.log_level = n::NGX_LOG_DEBUG_EVENT as usize | 7;
        }
        // SAFETY: plain C calls on structures of this world, which does not move.
        unsafe {
            self.pool = n::ngx_create_pool(4096, &raw mut self.log);

            self.upstream_read.data = (&raw mut self.upstream).cast();
            self.upstream_read.log = &raw mut self.log;
            self.upstream_read.set_ready(1);
            self.upstream.read = &raw mut self.upstream_read;
            self.upstream.fd = 5;
            self.upstream.recv_chain = Some(recv_chain);
            self.upstream.data = me.cast();

            self.downstream_write.data = (&raw mut self.downstream).cast();
            self.downstream_write.log = &raw mut self.log;
            self.downstream_write.set_write(1);
            self.downstream_write.set_ready(self.dice.below(2) as u32);
            self.downstream.write = &raw mut self.downstream_write;
            self.downstream.fd = 6;
            self.downstream.data = me.cast();

            self.file.file.fd = -1;
            self.file.file.log = &raw mut self.log;

            let memory: *mut u8 = self.memory(config.header_buffer);
            self.header.start = memory;
            self.header.end = memory.add(config.header_buffer);
            self.header.pos = memory.add(config.header);
            self.header.last = self.header.pos;
            self.header.set_temporary(1);
            for i in 0..config.preread {
                *self.header.pos.add(i) = stream_byte(i as u64);
            }
            self.received = config.preread as u64;
            self.preread.buf = &raw mut self.header;

            if config.header_to_file {
                self.header_to_file.start = memory;
                self.header_to_file.pos = memory;
                self.header_to_file.last = self.header.pos;
                self.header_to_file.set_temporary(1);
                self.pipe.buf_to_file = &raw mut self.header_to_file;
            }

            let p = &mut self.pipe;
            p.upstream = &raw mut self.upstream;
            p.downstream = &raw mut self.downstream;
            p.input_filter = Some(match config.framing {
                Framing::Copy => copy_filter,
                Framing::Framed => framed_filter,
            });
            p.input_ctx = me.cast();
            p.output_filter = Some(output_filter);
            p.output_ctx = me.cast();
            if config.threads {
                p.thread_handler = Some(thread_handler);
                p.thread_ctx = me.cast();
            }
            p.set_cacheable(config.cacheable.into());
            p.set_single_buf(config.single_buf.into());
            p.set_free_bufs(config.free_bufs.into());
            p.set_cyclic_temp_file(config.cyclic_temp_file.into());
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
            if self.side.is_stock && config.header == config.header_buffer {
                // The first defect of the C pipe, put right from outside.
                p.preread_bufs = null_mut();
                self.preread.next = (*self.pool).chain;
                (*self.pool).chain = &raw mut self.preread;
            }
            p.preread_size = config.preread;
            p.limit_rate = config.limit_rate;
            p.start_sec = 1_000_000;
            p.temp_file = &raw mut self.file;
        }
    }

    /// Memory of the pool that no event tells of.
    fn memory(&self, size: usize) -> *mut u8 {
        // SAFETY: a live pool.
        unsafe {
            n::ngx_create_temp_buf(self.pool, size)
                .as_mut()
                .expect("memory")
                .start
        }
    }

    /// Runs `body` with the pipe's callbacks coming to this world.
    fn enter<R>(&mut self, body: impl FnOnce(&mut Self) -> R) -> R {
        CURRENT.set(self);
        let result = body(self);
        CURRENT.set(null_mut());
        result
    }

    /// Calls the pipe, and notes its return code and the state that it leaves.
    pub fn call(&mut self, do_write: bool) -> isize {
        let pipe = self.side.pipe;
        let rc = self.enter(|world| {
            // SAFETY: a pipe that is set up; callbacks come back by pointers.
            unsafe { pipe(&raw mut world.pipe, do_write.into()) }
        });

        self.trace.push(Event::Returned(rc));
        let state = self.state();
        self.trace.push(Event::State(state));
        self.check_lists();
        rc
    }

    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub fn upstream_read(&mut self) -> &mut n::ngx_event_t {
        &mut self.upstream_read
    }

    pub fn downstream_write(&mut self) -> &mut n::ngx_event_t {
        &mut self.downstream_write
    }

    pub fn has_upstream(&self) -> bool {
        !self.pipe.upstream.is_null()
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

    pub fn stop_timer(&mut self, event: fn(&mut Self) -> &mut n::ngx_event_t) {
        let event: *mut n::ngx_event_t = event(self);
        // SAFETY: an event of this world; the tree knows it if it says so.
        unsafe {
            if (*event).timer_set() != 0 {
                n::ngx_event_pipe_glue_del_timer(event);
            }
        }
    }

    /// Whether upstream has nothing more to bring.
    pub fn finished(&self) -> bool {
        let p = &self.pipe;
        p.upstream_done() != 0 || p.upstream_eof() != 0 || p.upstream_error() != 0
    }

    /// A number for an address, the same in both worlds.
    fn name<T>(&mut self, address: *const T) -> i64 {
        if address.is_null() {
            return 0;
        }
        let next = self.names.len() as u32 + 1;
        (*self.names.entry(address as usize).or_insert(next)).into()
    }

    fn wrong(&mut self, what: &'static str) {
        // No module of nginx turns this on, and its offset goes back while data
        // of the file is still to be sent.
        if self.config.cyclic_temp_file {
            return;
        }
        self.trace.push(Event::Wrong(what));
    }

    /// Sends up to `budget` bytes of what the output holds.
    pub fn send(&mut self, mut budget: u64) {
        if self.pipe.downstream_error() != 0 {
            // Nothing goes out any more. (Where something does, as under
            // HTTP/2, the C pipe has already recycled it.)
            self.output.clear();
            return;
        }
        while let Some(&buf) = self.output.first() {
            // SAFETY: buffers that the pipe has handed out stay in the pool.
            unsafe {
                if (*buf).in_file() != 0 {
                    while (*buf).file_pos < (*buf).file_last && budget > 0 {
                        let byte = self.written.get((*buf).file_pos as usize).copied();
                        self.deliver(byte);
                        (*buf).file_pos += 1;
                        budget -= 1;
                    }
                    if (*buf).file_pos < (*buf).file_last {
                        return;
                    }
                } else {
                    while (*buf).pos < (*buf).last && budget > 0 {
                        let byte = *(*buf).pos;
                        self.deliver(Some(byte));
                        (*buf).pos = (*buf).pos.add(1);
                        budget -= 1;
                    }
                    if (*buf).pos < (*buf).last {
                        return;
                    }
                }
            }
            self.output.remove(0);
        }
    }

    fn deliver(&mut self, byte: Option<u8>) {
        if byte.is_none() || byte != self.body.get(self.sent).copied() {
            self.wrong("the client gets other bytes than upstream has sent");
        }
        self.sent += 1;
    }

    /// The end of a response that went well: the client has all of it.
    pub fn check_delivered(&mut self) {
        self.send(u64::MAX);
        if self.sent != self.body.len() {
            self.wrong("the client lacks bytes of a finished response");
        }
    }

    /// No raw buffer is free twice, none is free while a shadow needs it.
    fn check_lists(&mut self) {
        let free: Vec<_> = links(self.pipe.free_raw_bufs).collect();
        for (i, a) in free.iter().enumerate() {
            if free.iter().skip(i + 1).any(|b| a == b) {
                self.wrong("a raw buffer is on the free list twice");
            }
        }
    }

    fn describe(&mut self, buf: *mut n::ngx_buf_t) -> Vec<i64> {
        let name = self.name(buf);
        // SAFETY: a live buffer of the pool.
        let b = unsafe { &*buf };
        let start = self.name(b.start);
        let shadow = self.name(b.shadow);
        // Not every buffer has all of them: a file buffer none, the header no end.
        let from_start = |address: *mut u8| match address.is_null() {
            true => -1,
            false => (address as isize).wrapping_sub(b.start as isize) as i64,
        };
        let flags = [
            b.temporary(),
            b.recycled(),
            b.in_file(),
            b.last_shadow(),
            b.temp_file(),
            b.memory(),
            b.flush(),
            b.last_buf(),
        ];
        vec![
            name,
            start,
            shadow,
            from_start(b.pos),
            from_start(b.last),
            from_start(b.end),
            b.file_pos,
            b.file_last,
            i64::from(b.num),
            i64::from(!b.tag.is_null()),
            i64::from(!b.file.is_null()),
            flags
                .iter()
                .fold(0, |bits, flag| bits << 1 | i64::from(*flag)),
        ]
    }

    fn describe_chain(&mut self, chain: *mut n::ngx_chain_t) -> Vec<Vec<i64>> {
        links(chain)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|buf| self.describe(buf))
            .collect()
    }

    /// All that the pipe has left behind, in numbers.
    fn state(&mut self) -> Vec<i64> {
        let p: *mut n::ngx_event_pipe_t = &raw mut self.pipe;
        // SAFETY: only read, and nothing else runs.
        let p = unsafe { &*p };
        let mut state = vec![
            p.read().into(),
            p.upstream_done().into(),
            p.upstream_error().into(),
            p.upstream_eof().into(),
            p.upstream_blocked().into(),
            p.downstream_done().into(),
            p.downstream_error().into(),
            p.aio().into(),
            p.allocated as i64,
            p.read_length,
            p.length,
            i64::from(p.num),
            self.file.offset,
            i64::from(self.file.thread_write()),
            p.thread_task as usize as i64,
            i64::from(!p.preread_bufs.is_null()),
            i64::from(!p.buf_to_file.is_null()),
        ];

        for chain in [p.free_raw_bufs, p.in_, p.writing, p.out, p.free, p.busy] {
            state.push(-1);
            let described = self.describe_chain(chain);
            state.extend(described.into_iter().flatten());
        }

        // Where the next buffer of `in` goes matters only while there is one.
        if !p.in_.is_null() {
            let mut last = p.in_;
            // SAFETY: links of the pool.
            unsafe {
                while !(*last).next.is_null() {
                    last = (*last).next;
                }
                if p.last_in != &raw mut (*last).next {
                    self.wrong("last_in is not the end of in");
                }
            }
        }

        // SAFETY: a live pool.
        let mut spare = unsafe { (*self.pool).chain };
        let mut spares = 0;
        while !spare.is_null() {
            spares += 1;
            // SAFETY: links of the pool.
            spare = unsafe { (*spare).next };
        }
        state.push(spares);

        for event in [&self.upstream_read, &self.downstream_write] {
            state.extend([
                i64::from(event.active()),
                event.ready().into(),
                event.eof().into(),
                event.error().into(),
                event.delayed().into(),
                event.timer_set().into(),
                if event.timer_set() != 0 {
                    event.timer.key as i64
                } else {
                    0
                },
            ]);
        }

        // SAFETY: nginx's constant strings.
        let action = unsafe { std::ffi::CStr::from_ptr(self.log.action) };
        state.extend(action.to_bytes().iter().map(|byte| i64::from(*byte)));

        state
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_timer(Self::upstream_read);
        self.stop_timer(Self::downstream_write);
        // SAFETY: made in `set_up`, destroyed once.
        unsafe { n::ngx_destroy_pool(self.pool) }
    }
}

fn links(mut chain: *mut n::ngx_chain_t) -> impl Iterator<Item = *mut n::ngx_buf_t> {
    std::iter::from_fn(move || {
        if chain.is_null() {
            return None;
        }
        // SAFETY: links of the pool.
        let buf = unsafe { (*chain).buf };
        // SAFETY: as above.
        chain = unsafe { (*chain).next };
        Some(buf)
    })
}

/// The world whose pipe has called.
fn current() -> Option<&'static mut World> {
    // SAFETY: set for the duration of a call into the pipe, by `enter`, from a
    // box that stays where it is. The pipe does not know the Rust structure,
    // and callbacks do not call each other.
    unsafe { CURRENT.get().as_mut() }
}

fn world() -> &'static mut World {
    current().expect("a callback outside of a call")
}

unsafe extern "C" fn recv_chain(
    _: *mut n::ngx_connection_t,
    chain: *mut n::ngx_chain_t,
    limit: n::off_t,
) -> isize {
    let w = world();
    let mut buffers = Vec::new();
    let mut room = 0;
    for buf in links(chain).collect::<Vec<_>>() {
        // SAFETY: raw buffers of the pool.
        let free = unsafe { (*buf).end.offset_from((*buf).last) } as i64;
        buffers.push([w.name(buf), free]);
        room += free as u64;
    }

    let left = w.config.stream - w.received;
    let event = &raw mut w.upstream_read;
    // SAFETY: the event of this world's connection.
    let event = unsafe { &mut *event };

    let result = if w.config.fault(&mut w.dice) {
        if w.side.is_stock {
            // The second defect of the C pipe, put right from outside.
            w.pipe.set_read(1);
        }
        event.set_error(1);
        event.set_ready(0);
        n::NGX_ERROR as isize
    } else if room == 0 {
        event.set_eof(1);
        event.set_ready(0);
        0
    } else if w.dice.one_in(4) {
        event.set_ready(0);
        n::NGX_AGAIN as isize
    } else if left == 0 {
        event.set_ready(0);
        if w.dice.one_in(4) {
            n::NGX_AGAIN as isize
        } else {
            event.set_eof(1);
            0
        }
    } else {
        let mut most = room.min(left);
        if limit > 0 {
            most = most.min(limit as u64);
        }
        let size = if w.dice.one_in(2) {
            most
        } else {
            w.dice.between(1, most)
        };
        let mut rest = size;
        for buf in links(chain) {
            // SAFETY: within the memory of a raw buffer.
            unsafe {
                let mut at = (*buf).last;
                while at < (*buf).end && rest > 0 {
                    *at = stream_byte(w.received);
                    w.received += 1;
                    at = at.add(1);
                    rest -= 1;
                }
            }
        }
        if w.dice.one_in(3) {
            event.set_ready(0);
        }
        size as isize
    };

    w.trace.push(Event::Recv {
        buffers,
        limit,
        result,
    });
    result
}

/// The pipe's own filter, watched.
unsafe extern "C" fn copy_filter(
    p: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> n::ngx_int_t {
    let w = world();
    let described = w.describe(raw);
    let copy = w.side.copy;
    // SAFETY: passes on what the pipe has given.
    let (before, result, last) = unsafe {
        let before = ((*p).upstream_done(), (*p).length);
        let result = copy(p, raw);
        (before, result, (*p).last_in)
    };
    let w = world();
    if result == n::NGX_OK as isize {
        // What the filter has taken is the body: the last buffer of `in`.
        // SAFETY: the filter appends, and a link starts with its buffer.
        unsafe {
            if (*raw).pos != (*raw).last
                && before.0 == 0
                && before.1 != 0
                && !(*raw).shadow.is_null()
            {
                let _ = last;
                let shadow = (*raw).shadow;
                let size = (*shadow).last.offset_from((*shadow).pos) as usize;
                w.body
                    .extend_from_slice(std::slice::from_raw_parts((*shadow).pos, size));
            }
        }
    }
    w.trace.push(Event::InputFilter {
        raw: described,
        result,
    });
    result
}

/// A filter like those of chunks and records.
unsafe extern "C" fn framed_filter(
    p: *mut n::ngx_event_pipe_t,
    raw: *mut n::ngx_buf_t,
) -> n::ngx_int_t {
    let w = world();
    let described = w.describe(raw);
    // SAFETY: a raw buffer that the pipe has just handed over.
    let result = unsafe { frame(w, p, raw) };
    let w = world();
    w.trace.push(Event::InputFilter {
        raw: described,
        result,
    });
    result
}

unsafe fn frame(w: &mut World, p: *mut n::ngx_event_pipe_t, raw: *mut n::ngx_buf_t) -> isize {
    // SAFETY: the pipe and its buffers, as nginx's own filters use them.
    unsafe {
        if (*raw).pos == (*raw).last || (*p).upstream_done() != 0 {
            return n::NGX_OK as isize;
        }
        if (*p).length == 0 {
            (*p).set_upstream_done(1);
            return n::NGX_OK as isize;
        }

        let mut slot = &raw mut (*raw).shadow;
        let mut last: *mut n::ngx_buf_t = null_mut();
        let mut at = (*raw).pos;

        while at < (*raw).last {
            let left = (*raw).last.offset_from(at) as u64;
            // Framing, then data.
            at = at.add(w.dice.below(left.min(3) + 1) as usize);
            let left = (*raw).last.offset_from(at) as u64;
            if left == 0 {
                break;
            }
            let size = if w.dice.one_in(3) {
                left
            } else {
                w.dice.between(1, left)
            } as usize;

            let cl = n::ngx_chain_get_free_buf((*p).pool, &raw mut (*p).free);
            if cl.is_null() {
                return n::NGX_ERROR as isize;
            }
            let b = (*cl).buf;
            *b = zeroed();
            (*b).pos = at;
            (*b).start = (*raw).start;
            (*b).end = (*raw).end;
            (*b).tag = (*p).tag;
            (*b).set_temporary(1);
            (*b).set_recycled(1);
            *slot = b;
            slot = &raw mut (*b).shadow;
            if (*p).in_.is_null() {
                (*p).in_ = cl;
            } else {
                *(*p).last_in = cl;
            }
            (*p).last_in = &raw mut (*cl).next;
            (*b).num = (*raw).num;

            w.body
                .extend_from_slice(std::slice::from_raw_parts(at, size));
            at = at.add(size);
            (*b).last = at;
            last = b;

            // As HTTP/2 may: with a shadow linked that is not marked the last.
            if w.config.fault(&mut w.dice) && w.dice.one_in(3) {
                return n::NGX_ERROR as isize;
            }
        }

        (*raw).pos = at;

        (*p).length = match w.dice.below(12) {
            0 => 0,
            _ => w.dice.between(1, 6) as i64,
        };
        if w.config.fault(&mut w.dice) {
            if w.dice.one_in(2) {
                (*p).set_upstream_done(1);
            } else {
                (*p).set_upstream_error(1);
                (*p).set_upstream_eof(0);
            }
        }

        if last.is_null() {
            return (w.side.add_free)(p, raw);
        }
        (*last).shadow = raw;
        (*last).set_last_shadow(1);
        n::NGX_OK as isize
    }
}

unsafe extern "C" fn output_filter(_: *mut c_void, chain: *mut n::ngx_chain_t) -> n::ngx_int_t {
    let w = world();
    let buffers = w.describe_chain(chain);

    let result = if w.config.fault(&mut w.dice) {
        w.output.clear();
        n::NGX_ERROR as isize
    } else {
        w.output.extend(links(chain));
        let budget = match w.dice.below(4) {
            _ if w.config.holding_output => w.dice.below(2),
            0 => 0,
            1 => w.dice.below(10),
            2 => w.dice.below(200),
            _ => u64::MAX,
        };
        w.send(budget);

        if w.config.threads && w.dice.one_in(10) {
            w.aio = true;
        }
        if w.config.threads && w.dice.one_in(4) {
            // Reading for the client uses the same fields of the file.
            w.file.file.thread_task = null_mut();
            w.file.file.thread_handler = None;
            w.file.file.thread_ctx = null_mut();
        }
        if w.output.is_empty() {
            if w.dice.one_in(20) {
                w.downstream_write.set_delayed(1);
            }
            n::NGX_OK as isize
        } else {
            if !w.config.holding_output && !w.dice.one_in(5) {
                w.downstream_write.set_ready(0);
            }
            n::NGX_AGAIN as isize
        }
    };
    if w.config.threads {
        w.pipe.set_aio(w.aio.into());
    }
    if w.config.faults != 0 && w.dice.one_in(60) {
        // The request lets go of upstream.
        w.upstream.fd = -1;
        w.pipe.upstream = null_mut();
    }

    w.trace.push(Event::OutputFilter { buffers, result });
    result
}

unsafe extern "C" fn thread_handler(
    _: *mut n::ngx_thread_task_t,
    _: *mut n::ngx_file_t,
) -> n::ngx_int_t {
    let w = world();
    w.aio = true;
    w.pipe.set_aio(1);
    n::NGX_OK as isize
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_write_chain_to_temp_file(
    tf: *mut n::ngx_temp_file_t,
    chain: *mut n::ngx_chain_t,
) -> isize {
    let w = world();
    let buffers = w.describe_chain(chain);
    // SAFETY: the file of this world.
    let file = unsafe { &mut *tf };
    file.file.fd = 7;
    let thread = vec![
        i64::from(file.thread_write()),
        file.file.thread_task as usize as i64,
        i64::from(file.file.thread_handler.is_some()),
        i64::from(!file.file.thread_ctx.is_null()),
    ];

    let result = if chain.is_null() && w.thread.is_none() {
        w.wrong("a write without data");
        0
    } else if w.config.fault(&mut w.dice) {
        w.thread = None;
        n::NGX_ERROR as isize
    } else if chain.is_null() {
        let (chain, offset) = w.thread.take().expect("checked above");
        w.write(chain, offset)
    } else if file.thread_write() != 0 && w.dice.one_in(2) {
        if file.file.thread_task.is_null() {
            w.task += 1;
            file.file.thread_task = w.task as usize as *mut _;
        }
        w.thread = Some((chain, file.offset));
        if let Some(handler) = file.file.thread_handler {
            // SAFETY: what the pipe has set.
            unsafe { handler(file.file.thread_task, &raw mut file.file) };
        }
        n::NGX_AGAIN as isize
    } else {
        w.write(chain, file.offset)
    };

    let w = world();
    w.trace.push(Event::WriteFile {
        buffers,
        offset: file.offset,
        thread,
        result,
    });
    result
}

impl World {
    fn write(&mut self, chain: *mut n::ngx_chain_t, offset: i64) -> isize {
        let mut at = offset as usize;
        for buf in links(chain) {
            // SAFETY: the data of a live buffer.
            let data = unsafe {
                let size = (*buf).last.offset_from((*buf).pos) as usize;
                std::slice::from_raw_parts((*buf).pos, size)
            };
            if self.written.len() < at + data.len() {
                self.written.resize(at + data.len(), 0);
            }
            self.written[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        (at - offset as usize) as isize
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_handle_read_event(
    event: *mut n::ngx_event_t,
    flags: n::ngx_uint_t,
) -> n::ngx_int_t {
    let w = world();
    let failed = w.config.fault(&mut w.dice) && w.dice.one_in(3);
    // SAFETY: an event of this world.
    unsafe { (*event).set_active(u32::from(w.dice.below(4) != 0)) };
    w.trace.push(Event::HandleRead { flags, failed });
    if failed {
        n::NGX_ERROR as isize
    } else {
        n::NGX_OK as isize
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_handle_write_event(
    event: *mut n::ngx_event_t,
    lowat: usize,
) -> n::ngx_int_t {
    let w = world();
    let failed = w.config.fault(&mut w.dice) && w.dice.one_in(3);
    // SAFETY: an event of this world.
    unsafe { (*event).set_active(u32::from(w.dice.below(4) != 0)) };
    w.trace.push(Event::HandleWrite { lowat, failed });
    if failed {
        n::NGX_ERROR as isize
    } else {
        n::NGX_OK as isize
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn harness_alloc(size: usize) -> n::ngx_int_t {
    let Some(w) = current() else {
        return n::NGX_OK as isize;
    };
    let failed = w.config.failing_alloc == Some(w.allocations);
    w.allocations += 1;
    w.trace.push(Event::Alloc { size, failed });
    if failed {
        n::NGX_ERROR as isize
    } else {
        n::NGX_OK as isize
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn harness_pfree(address: *mut c_void) {
    if let Some(w) = current() {
        let name = w.name(address) as u32;
        w.trace.push(Event::Free(name));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn harness_log(level: n::ngx_uint_t, err: i32, text: *const u8, size: usize) {
    let Some(w) = current() else {
        return;
    };
    // SAFETY: the text that nginx has just formatted.
    let text = unsafe { std::slice::from_raw_parts(text, size) };
    let text = w.without_addresses(&String::from_utf8_lossy(text));
    w.trace.push(Event::Log { level, err, text });
}

impl World {
    /// Replaces what `%p` has printed by the address's number.
    fn without_addresses(&mut self, text: &str) -> String {
        text.split(' ')
            .map(|word| {
                let digits = word.trim_start_matches("out:").trim_end_matches(',');
                match usize::from_str_radix(digits, 16) {
                    Ok(address) if digits.len() == 16 => {
                        word.replace(digits, &format!("#{}", self.name(address as *const u8)))
                    }
                    _ => word.to_string(),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }
}
