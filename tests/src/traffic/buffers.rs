//! The sizes that decide which way a response takes through the pipe.

use std::fmt;

use crate::random::Random;

/// The buffers of a location, within what nginx accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// `@_buffer_size`: the one for the header.
    pub header: usize,
    /// `@_buffers`: how many, and how large each.
    pub count: usize,
    pub size: usize,
    /// `@_busy_buffers_size`: how much may be on its way to the client.
    pub busy: usize,
    /// `@_temp_file_write_size`: how much is written to the file at a time.
    pub write: usize,
    /// `@_max_temp_file_size`; 0 for no file.
    pub file: usize,
}

impl Buffers {
    /// Few and small ones, so that little traffic does a lot.
    pub const SMALL: Self = Self::new(4, 1024);

    /// The header's is of the same size; large files.
    pub const fn new(count: usize, size: usize) -> Self {
        Self {
            header: size,
            count,
            size,
            busy: size,
            write: 2 * size,
            file: 1 << 30,
        }
    }

    /// Anything nginx accepts.
    pub fn random(random: &mut Random) -> Self {
        let count = *random.pick(&[2, 3, 4, 8, 16, 64]);
        let size = *random.pick(&[1000, 1024, 1500, 4096, 4097, 8192, 16384]);
        // The header's buffer must not be larger than what may be busy.
        let header = match random.below(3) {
            0 => 1000,
            1 => size,
            _ => ((count - 1) * size).min(4096),
        };
        let least = header.max(size);
        let write = *random.pick(&[least, least + 1, 2 * least, 8 * least]);
        Self {
            header,
            count,
            size,
            busy: random.between(least, (count - 1) * size),
            write,
            file: *random.pick(&[0, least, write + 1, 5 * least, 1 << 30, 1 << 30]),
        }
    }

    /// All that nginx can hold in memory.
    pub fn total(&self) -> usize {
        self.header + self.count * self.size
    }

    /// These, with another limit of the file.
    pub const fn file(self, file: usize) -> Self {
        Self { file, ..self }
    }
}

/// As directives, `@` standing for the module.
impl fmt::Display for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            header,
            count,
            size,
            busy,
            write,
            file,
        } = self;
        write!(
            f,
            "@_buffer_size {header}; @_buffers {count} {size}; @_busy_buffers_size {busy}; \
             @_temp_file_write_size {write}; @_max_temp_file_size {file};"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ones_are_within_the_rules_of_nginx() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let buffers = Buffers::random(&mut random);
            let least = buffers.header.max(buffers.size);
            assert!(buffers.busy >= least, "{buffers}");
            assert!(
                buffers.busy <= (buffers.count - 1) * buffers.size,
                "{buffers}"
            );
            assert!(buffers.write >= least, "{buffers}");
            assert!(buffers.file == 0 || buffers.file >= least, "{buffers}");
        }
    }
}
