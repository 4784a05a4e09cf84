//! The process that is measured, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pipe_tests::peers::program::{Process, command, start};
use pipe_tests::server::wait;
use tempfile::NamedTempFile;

use super::machine::line;

/// How often each system call was made.
pub(crate) type Calls = BTreeMap<String, u64>;

/// A worker with one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worker(pub(crate) u32);

impl Worker {
    /// The CPU time it has used, as of when it has nothing left to do.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let mut last = self.cpu_now()?;
        let mut now = last;
        wait(|| {
            last = now;
            // What the clients left to be done, it does in less than this.
            thread::sleep(Duration::from_millis(10));
            now = self.cpu_now().unwrap_or_default();
            now == last
        });
        Ok(now)
    }

    /// User and system time to the nanosecond, of which /proc/PID/stat has only
    /// the clock ticks.
    fn cpu_now(self) -> Result<Duration> {
        let file = format!("/proc/{}/schedstat", self.0);
        let text = fs::read_to_string(&file)?;
        let first = text.split_whitespace().next();
        let spent = first.and_then(|nanoseconds| nanoseconds.parse().ok());
        let spent = spent.ok_or_else(|| Error::other(format!("{file} says {text:?}")))?;
        Ok(Duration::from_nanos(spent))
    }

    /// The most memory it ever had, in KiB.
    pub(crate) fn peak_kib(self) -> Result<u64> {
        self.kib("VmHWM")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn resident(self) -> Result<u64> {
        Ok(self.kib("VmRSS")? << 10)
    }

    fn kib(self, name: &str) -> Result<u64> {
        let size = self.status(name)?;
        let number = size.split_whitespace().next();
        number
            .and_then(|kib| kib.parse().ok())
            .ok_or_else(|| Error::other(format!("{name} is {size:?}")))
    }

    /// The bytes it has ever had the kernel write to disk, now or later; none where
    /// that is not told.
    pub(crate) fn written(self) -> Option<u64> {
        let written = line(&format!("/proc/{}/io", self.0), "write_bytes").ok()?;
        written.parse().ok()
    }

    /// The system calls that it makes meanwhile; none where it cannot be
    /// traced.
    pub(crate) fn calls(self, meanwhile: impl FnOnce() -> Result<()>) -> Result<Option<Calls>> {
        let counts = NamedTempFile::new()?;
        let mut strace = command("strace");
        strace.args(["-c", "-p", &self.0.to_string(), "-o"]);
        strace.arg(counts.path()).stderr(Stdio::null());
        let mut strace = Process::new(start(&mut strace, Command::spawn)?);
        wait(|| self.is_traced() || strace.has_ended());
        if !self.is_traced() {
            return Ok(None);
        }
        let outcome = meanwhile();
        // It writes when it is asked to end.
        drop(strace);
        outcome?;
        Ok(Some(parse(&fs::read_to_string(counts.path())?)))
    }

    fn is_traced(self) -> bool {
        self.status("TracerPid").is_ok_and(|tracer| tracer != "0")
    }

    fn status(self, name: &str) -> Result<String> {
        line(&format!("/proc/{}/status", self.0), name)
    }
}

/// Reads strace's table: the fourth column is the count, the last the name.
fn parse(table: &str) -> Calls {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, count) = (words.last()?, words.get(3)?.parse().ok()?);
        (*name != "total").then(|| ((*name).to_owned(), count))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_of_strace() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           3       200           readv
 40.00    0.000400           4       100         7 writev
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           3       300         7 total
";
        let calls: Vec<_> = parse(table).into_iter().collect();
        assert_eq!(calls, [("readv".into(), 200), ("writev".into(), 100)]);
    }
}
