//! What a pipe does to its world, in a form that two worlds can be compared by:
//! addresses are numbers in the order in which they appear.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A number for an address; 0 is `NULL`.
pub type Name = u32;

/// Something that a pipe did, or that was found about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Memory was asked for, from the pool.
    Alloc { size: usize, failed: bool },
    /// Memory was given back to the pool.
    Free(Name),
    /// A line was logged.
    Log {
        level: usize,
        err: i32,
        text: String,
    },
    /// Upstream was read: into which buffers, with how much room each.
    Recv {
        into: Vec<(Name, i64)>,
        limit: i64,
        result: isize,
    },
    /// The input filter got a raw buffer.
    InputFilter { raw: Buffer, result: isize },
    /// The output filter got a chain.
    OutputFilter { chain: Vec<Buffer>, result: isize },
    /// `ngx_handle_read_event`
    HandleRead { flags: usize, failed: bool },
    /// `ngx_handle_write_event`
    HandleWrite { lowat: usize, failed: bool },
    /// `ngx_write_chain_to_temp_file`
    WriteChain {
        chain: Vec<Buffer>,
        file: File,
        result: isize,
    },
    /// The temporary file was opened.
    Open { failed: bool },
    /// The temporary file was written.
    Write {
        offset: i64,
        data: Vec<u8>,
        result: isize,
    },
    /// The pipe returned.
    Returned(isize),
    /// The state that it left.
    State(Box<State>),
    /// An invariant does not hold.
    Wrong(&'static str),
}

/// A buffer, with offsets from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub name: Name,
    pub start: Name,
    pub shadow: Name,
    pub pos: i64,
    pub last: i64,
    pub end: i64,
    pub file_pos: i64,
    pub file_last: i64,
    pub num: i32,
    pub has_tag: bool,
    pub has_file: bool,
    /// All bits of the structure, its padding left out.
    pub flags: u64,
}

/// The fields of the temporary file that the pipe sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub offset: i64,
    pub thread_write: bool,
    pub task: Name,
    pub has_handler: bool,
    pub has_ctx: bool,
}

/// All that a call of the pipe has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The bits of the pipe.
    pub flags: u64,
    pub allocated: i64,
    pub read_length: i64,
    pub length: i64,
    pub num: i32,
    pub has_preread_bufs: bool,
    pub has_buf_to_file: bool,
    pub has_upstream: bool,
    pub task: Name,
    pub free_raw_bufs: Vec<Buffer>,
    pub in_: Vec<Buffer>,
    pub last_in: Name,
    pub writing: Vec<Buffer>,
    pub out: Vec<Buffer>,
    pub free: Vec<Buffer>,
    pub busy: Vec<Buffer>,
    pub file: File,
    /// Links that the pool has for reuse.
    pub spare_links: usize,
    pub read_event: EventState,
    pub write_event: EventState,
    /// What the log says that nginx is doing.
    pub action: String,
}

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventState {
    pub active: bool,
    pub ready: bool,
    pub eof: bool,
    pub error: bool,
    pub delayed: bool,
    /// When the timer expires, if it runs.
    pub timer: Option<usize>,
}

/// The numbers given to addresses so far.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<usize, Name, BuildHasherDefault<AddressHasher>>,
    given: Name,
}

impl Names {
    /// The number of an address.
    pub fn of<T>(&mut self, address: *const T) -> Name {
        if address.is_null() {
            return 0;
        }
        let next = self.given + 1;
        let name = *self.numbers.entry(address as usize).or_insert(next);
        self.given = self.given.max(name);
        name
    }

    /// Memory was freed: what comes to lie there has another number.
    pub fn forget<T>(&mut self, address: *const T) {
        self.numbers.remove(&(address as usize));
    }
}

/// Addresses need no defence against whoever chooses them.
#[derive(Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
