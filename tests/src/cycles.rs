//! How long the cycles of an nginx worker are: the time from when it is told of
//! events to when it asks for new ones, in which no other event is served. And how
//! much it receives in a cycle.
//!
//! A library in nginx's processes (LD_PRELOAD) takes the time, and counts.

use std::ffi::OsString;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::build::shared_library;

/// Eight bins from each power of two to the next, as watch.c has them.
const BINS: usize = 512;

/// The worker, the longest cycle, the most bytes of a cycle, and how many cycles each
/// bin has.
const NUMBERS: usize = 3 + BINS;

/// The cycles of one nginx.
#[derive(Debug)]
pub struct Cycles {
    library: PathBuf,
    folder: TempDir,
    file: File,
}

impl Cycles {
    /// Of an nginx that has not been started yet.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(shared(&folder))?;
        file.set_len((NUMBERS * size_of::<u64>()) as u64)?;
        Ok(Self {
            library: shared_library("src/cycles/watch.c")?,
            folder,
            file,
        })
    }

    /// What nginx is to be started with.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("PIPE_CYCLES", shared(&self.folder).into()),
        ]
    }

    /// Counts the cycles of this worker from now on, and forgets all before.
    pub fn restart(&self, worker: u32) -> Result<()> {
        let mut numbers = [0; NUMBERS];
        numbers[0] = u64::from(worker);
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_ne_bytes).collect();
        self.file.write_all_at(&bytes, 0)
    }

    /// Returns the cycles so far.
    pub fn lengths(&self) -> Result<Lengths> {
        let mut bytes = [0; NUMBERS * size_of::<u64>()];
        self.file.read_exact_at(&mut bytes, 0)?;
        let mut numbers = bytes.chunks_exact(size_of::<u64>()).map(number);
        Ok(Lengths {
            longest: Duration::from_nanos(numbers.nth(1).unwrap_or_default()),
            most: numbers.next().unwrap_or_default(),
            counts: numbers.collect(),
        })
    }
}

fn shared(folder: &TempDir) -> PathBuf {
    folder.path().join("cycles")
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// How long cycles were.
#[derive(Clone, Debug)]
pub struct Lengths {
    /// The longest one.
    pub longest: Duration,
    /// The most bytes that were received in one, by readv(), as nginx receives bodies.
    pub most: u64,
    counts: Vec<u64>,
}

impl Lengths {
    /// What so large a share of the cycles did not exceed, to an eighth.
    pub fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all as f64 * share).ceil() as u64;
        let mut passed = 0;
        let bin = self.counts.iter().position(|count| {
            passed += count;
            passed >= wanted
        });
        bin.map_or(self.longest, |bin| end(bin).min(self.longest))
    }
}

/// Where a bin ends.
fn end(bin: usize) -> Duration {
    let (power, part) = (bin / 8, bin % 8);
    Duration::from_nanos((9 + part as u64) << power.saturating_sub(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bin_of_a_quantile() {
        let mut counts = vec![0; BINS];
        // From 1024 to 1152 nanoseconds, and from 1920 to 2048.
        (counts[80], counts[87]) = (9, 1);
        let longest = Duration::from_nanos(2000);
        let lengths = Lengths {
            longest,
            most: 0,
            counts,
        };
        assert_eq!(lengths.quantile(0.9), Duration::from_nanos(1152));
        assert_eq!(lengths.quantile(1.0), longest);
    }
}
