//! What a schedule is about: the directives, the response, the protocol.

use crate::dice::Dice;

/// How raw buffers become shadows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The pipe's own copy filter.
    Copy,
    /// Chunks or records: several shadows for a raw buffer, bytes between them
    /// that do not belong to the body, and a `length` that moves.
    Framed,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub bufs: i64,
    pub size: usize,
    pub busy_size: isize,
    pub max_temp_file_size: i64,
    pub temp_file_write_size: isize,
    pub cacheable: bool,
    pub single_buf: bool,
    pub free_bufs: bool,
    pub cyclic_temp_file: bool,
    pub threads: bool,
    pub limit_rate: usize,
    pub framing: Framing,
    /// Of the buffer that holds the header.
    pub header_buffer: usize,
    pub header: usize,
    pub preread: usize,
    pub header_to_file: bool,
    /// Bytes that upstream sends, those with the header included.
    pub stream: u64,
    pub length: i64,
    pub debug_log: bool,
    /// Which allocation fails, if any.
    pub failing_alloc: Option<u32>,
    /// The output takes what it is given and holds on to it, as with
    /// asynchronous reads from disk, and is ready for more all the time.
    pub holding_output: bool,
    /// How often things go wrong: never, or once in so many.
    pub faults: u64,
}

impl Config {
    pub fn roll(dice: &mut Dice) -> Self {
        // What nginx's configuration allows: the busy buffers hold at least one
        // of each kind, and leave one raw buffer to receive into.
        let bufs = dice.between(2, 6);
        let size = dice.pick(&[1, 2, 3, 4, 7, 8, 16, 33]);
        let all_but_one = (bufs - 1) * size;
        let header_buffer = dice.pick(&[1, 2, 5, 8, 16, 40]).min(all_but_one);
        let larger = size.max(header_buffer);
        let busy_size = dice.between(larger, all_but_one);

        let header_buffer = header_buffer as usize;
        let stream = dice.pick(&[0, 1, 5, 20, 60, 150, 400]);
        let stream = dice.below(stream + 1);
        let header = dice.below(header_buffer as u64 + 1) as usize;
        let room = (header_buffer - header) as u64;
        let preread = dice.below(room.min(stream) + 1) as usize;
        let cacheable = dice.one_in(3);
        let framing = dice.pick(&[Framing::Copy, Framing::Framed]);

        Self {
            bufs: bufs as i64,
            size: size as usize,
            busy_size: busy_size as isize,
            max_temp_file_size: match dice.below(4) {
                0 => 0,
                1 => larger as i64,
                2 => (larger + dice.below(60)) as i64,
                _ => 1 << 30,
            },
            temp_file_write_size: (larger + dice.below(4 * larger)) as isize,
            cacheable,
            single_buf: dice.one_in(8),
            free_bufs: !dice.one_in(8),
            cyclic_temp_file: dice.one_in(12),
            threads: dice.one_in(3),
            limit_rate: if dice.one_in(4) {
                dice.pick(&[1, 7, 100, 5000])
            } else {
                0
            },
            framing,
            header_buffer,
            header,
            preread,
            header_to_file: cacheable && dice.one_in(2),
            stream,
            length: match (framing, dice.below(5)) {
                (Framing::Framed, 0..4) => 1,
                (_, 0) => 0,
                (_, 1) => stream as i64,
                (_, 2) => dice.below(stream + 1) as i64,
                (_, 3) => (stream + 1 + dice.below(9)) as i64,
                _ => -1,
            },
            // With the header buffer full, ours has a line of its own.
            debug_log: header < header_buffer && dice.one_in(4),
            failing_alloc: dice.one_in(10).then(|| dice.below(40) as u32),
            holding_output: dice.one_in(20),
            faults: dice.pick(&[0, 0, 8, 30]),
        }
    }

    /// Whether something goes wrong now.
    pub fn fault(&self, dice: &mut Dice) -> bool {
        self.faults != 0 && dice.one_in(self.faults * 4)
    }
}
