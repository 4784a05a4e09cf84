//! What a schedule is about: the directives, the response, the protocol.

use crate::choices::Choices;
use crate::feature::Feature;

/// How raw buffers become shadows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The pipe's own copy filter.
    Copy,
    /// As chunks: several shadows for a raw buffer, bytes between them that do
    /// not belong to the body, and a `length` that moves.
    Chunks,
    /// As FastCGI's records: the same, and the protocol tells the end; what
    /// comes after it is dropped together with its buffer.
    Records,
}

/// Everything about a schedule that does not change while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of how many steps the schedule consists, at the most.
    pub steps: u64,

    /// `proxy_buffers`.
    pub bufs: i64,
    pub size: usize,
    pub busy_size: isize,
    pub max_temp_file_size: i64,
    pub temp_file_write_size: isize,
    pub limit_rate: usize,
    pub cacheable: bool,
    pub single_buf: bool,
    pub free_bufs: bool,
    pub cyclic_temp_file: bool,
    /// `aio threads; aio_write on;`
    pub threads: bool,
    /// The event method is kqueue, which tells about the end of the stream.
    pub kqueue: bool,
    /// TLS runs on the connection to upstream.
    pub tls: bool,
    pub debug_log: bool,

    pub framing: Framing,
    /// Of the buffer that holds the header.
    pub header_buffer: usize,
    pub header: usize,
    pub preread: usize,
    pub header_to_file: bool,
    /// Another buffer follows it, and both have shadows from before.
    pub former_shadows: bool,
    /// An empty buffer that is not the pipe's waits in `out`.
    pub foreign_out: bool,
    /// Only the cache wants the body: a HEAD request.
    pub header_only: bool,
    /// Bytes that upstream sends, those with the header included.
    pub stream: u64,
    pub length: i64,

    /// The output goes on to send what it has after an error, as under HTTP/2.
    pub http2: bool,
    /// The output takes what it is given and holds on to it, as with
    /// asynchronous reads from disk, and is ready for more all the time.
    pub holding_output: bool,
    /// The output takes copies of some buffers while it still holds earlier
    /// ones, as filters that change the body do.
    pub copying_output: bool,

    /// The pipe is a request's, so it has a state. The features that are on.
    pub has_state: bool,
    pub feature: Option<Feature>,

    /// How often things go wrong: never, or once in so many.
    pub faults: u64,
    /// The one fallible call that fails besides.
    pub failing: Option<u32>,
    pub write_failure: WriteFailure,
}

/// How a write to the temporary file fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// There is no space left.
    NoSpace,
    /// The disk is broken.
    Io,
    /// Only a part is written; nginx tries to write the rest.
    Short,
    /// A signal came first; nginx tries again.
    Interrupted,
}

impl WriteFailure {
    pub const ALL: [Self; 4] = [Self::NoSpace, Self::Io, Self::Short, Self::Interrupted];
}

impl Config {
    /// Any that nginx's own checks of its configuration let pass: the busy
    /// buffers hold at least one of each kind, and leave one raw buffer to
    /// receive into.
    pub fn choose(choices: &mut Choices) -> Self {
        let steps = 1 + choices.below(80);
        let bufs = choices.between(2, 6);
        let size = choices.pick(&[4, 1, 2, 3, 7, 8, 16, 33]);
        let all_but_one = (bufs - 1) * size;
        let header_buffer = choices.pick(&[5, 1, 2, 8, 16, 40]).min(all_but_one);
        let larger = size.max(header_buffer);
        let busy_size = choices.between(larger, all_but_one);

        let longest = choices.pick(&[0, 1, 5, 20, 60, 150, 400]);
        let stream = choices.below(longest + 1);
        let header = choices.below(header_buffer + 1);
        let preread = choices.below((header_buffer - header).min(stream) + 1);
        let cacheable = choices.one_in(3);
        let framing = choices.pick(&[Framing::Copy, Framing::Chunks, Framing::Records]);
        let faults = choices.pick(&[0, 0, 8, 30]);

        Self {
            steps,
            bufs: bufs as i64,
            size: size as usize,
            busy_size: match choices.one_in(60) {
                // No directive can set it, but both pipes must agree on it.
                true => -1,
                false => busy_size as isize,
            },
            max_temp_file_size: match choices.below(4) {
                0 => 0,
                1 => larger as i64,
                2 => (larger + choices.below(60)) as i64,
                _ => 1 << 30,
            },
            temp_file_write_size: (larger + choices.below(4 * larger)) as isize,
            // With larger ones and a clock that was set back, C's arithmetic
            // overflows: this pipe's saturates.
            limit_rate: choices.pick(&[0, 0, 0, 0, 0, 1, 7, 100, 5000, 1 << 32]),
            cacheable,
            single_buf: choices.one_in(8),
            free_bufs: !choices.one_in(8),
            cyclic_temp_file: choices.one_in(12),
            threads: cfg!(c_has_threads) && choices.one_in(3),
            kqueue: cfg!(c_has_kqueue) && choices.one_in(2),
            tls: cfg!(all(c_has_kqueue, c_has_ssl)) && choices.one_in(3),
            debug_log: choices.one_in(4),
            framing,
            header_buffer: header_buffer as usize,
            header: header as usize,
            preread: preread as usize,
            header_to_file: cacheable && choices.one_in(2),
            former_shadows: choices.one_in(12),
            foreign_out: choices.one_in(30),
            header_only: cacheable && choices.one_in(6),
            stream,
            length: length(framing, stream, choices),
            http2: choices.one_in(3),
            holding_output: choices.one_in(20),
            copying_output: choices.one_in(4),
            has_state: !choices.one_in(8),
            feature: None,
            faults,
            failing: choices.one_in(10).then(|| choices.below(60) as u32),
            write_failure: choices.pick(&WriteFailure::ALL),
        }
    }
}

/// Bytes of a response that is long for the harness.
const LONG: u64 = 400;

/// Bytes of a response that can carry bulk.
const BULK: u64 = 2000;

impl Config {
    /// Room for some temporary files, and in half of the cases a long response that
    /// may have several, which threads write or do not.
    pub fn have_segments(&mut self) {
        if self.max_temp_file_size != 0 {
            let writes = 1 + (self.steps % 12) as i64;
            self.max_temp_file_size = writes * self.temp_file_write_size as i64;
        }
        // Whatever the room.
        let kind = self.steps / 12 % 4;
        if kind < 2 {
            self.cacheable = false;
            self.header_to_file = false;
            self.header_only = false;
            self.threads = cfg!(c_has_threads) && kind == 1;
            self.be_long();
        }
    }

    /// Makes the response long.
    pub fn be_long(&mut self) {
        self.have_at_least(LONG);
    }

    /// Makes the response so long that it carries bulk.
    pub fn be_bulk(&mut self) {
        self.have_at_least(BULK);
    }

    fn have_at_least(&mut self, bytes: u64) {
        let has_all = self.length == self.stream as i64;
        self.stream = self.stream.max(bytes);
        if has_all {
            self.length = self.stream as i64;
        }
    }
}

/// What the protocol says of the body's length, truly or not.
fn length(framing: Framing, stream: u64, choices: &mut Choices) -> i64 {
    match (framing, choices.below(5)) {
        (Framing::Chunks, 0..4) => 1,
        (_, 0) => -1,
        (_, 1) => stream as i64,
        (_, 2) => choices.below(stream + 1) as i64,
        (_, 3) => (stream + 1 + choices.below(9)) as i64,
        _ => 0,
    }
}
