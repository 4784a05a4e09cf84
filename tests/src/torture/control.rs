//! The test's end of the library that stands between nginx and the system.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::fault::{Armed, Call, How};
use crate::process::threads_sleep;
use crate::upstream::PATIENCE;

/// The source of the library.
pub(super) const SOURCE: &str = "src/torture/interpose.c";

/// Where the library finds the test.
pub(super) const VARIABLE: &str = "PIPE_TORTURE";

/// The kind of error that says that nginx has ended.
pub(super) const LOST: ErrorKind = ErrorKind::UnexpectedEof;

/// What the library is told; `interpose.c` has the numbers.
#[derive(Clone, Copy, Debug)]
enum Order {
    GoOn,
    Arm(Option<Armed>),
    PassTime,
}

impl Order {
    fn bytes(self) -> Vec<u8> {
        let (what, armed) = match self {
            Self::GoOn => (0, None),
            Self::Arm(armed) => (1, armed),
            Self::PassTime => (2, None),
        };
        let (call, nth, first, later) = match armed {
            Some((fault, nth)) => {
                let first = match fault.first {
                    How::Fails(errno) => errno,
                    How::IsCut => -1,
                };
                (fault.call as i32, nth as i32, first, fault.later)
            }
            None => (0, 0, 0, None),
        };
        let words: [i32; 5] = [what, call, nth, first, later.unwrap_or(0)];
        words.into_iter().flat_map(i32::to_ne_bytes).collect()
    }
}

/// What the library has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// How many times nginx had something to do.
    rounds: u32,
    /// Whether the call that was to fail has come.
    pub(super) fired: bool,
    /// How many calls of each kind there were.
    pub(super) seen: [u32; Call::ALL.len()],
}

/// Has one nginx in hand; it rests whenever none of these functions runs.
#[derive(Debug)]
pub(super) struct Control {
    stream: UnixStream,
    process: u32,
}

impl Control {
    /// Takes the process `process` in hand, which connects to `listener`.
    pub(super) fn take(listener: &UnixListener, process: u32) -> Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut control = Self { stream, process };
        control.report()?;
        Ok(control)
    }

    /// Counts anew from here on, and has that call fail.
    pub(super) fn arm(&mut self, fault: Option<Armed>) -> Result<()> {
        self.give(Order::Arm(fault)).map(drop)
    }

    /// Lets nginx work until it has nothing to do.
    pub(super) fn settle(&mut self) -> Result<Report> {
        loop {
            // A thread of the pool that sleeps now has told of its work, and
            // nginx will not miss that.
            let alone = threads_sleep(self.process)?;
            let report = self.give(Order::GoOn)?;
            if alone && report.rounds == 0 {
                return Ok(report);
            }
        }
    }

    /// Lets all timers of nginx expire.
    pub(super) fn pass_time(&mut self) -> Result<Report> {
        self.give(Order::PassTime)?;
        self.settle()
    }

    fn give(&mut self, order: Order) -> Result<Report> {
        self.stream
            .write_all(&order.bytes())
            .map_err(|error| lost(&error))?;
        self.report()
    }

    fn report(&mut self) -> Result<Report> {
        let mut words = [[0; 4]; 2 + Call::ALL.len()];
        self.stream
            .read_exact(words.as_flattened_mut())
            .map_err(|error| lost(&error))?;
        let [rounds, fired, seen @ ..] = words.map(u32::from_ne_bytes);
        Ok(Report {
            rounds,
            fired: fired != 0,
            seen,
        })
    }
}

fn lost(error: &Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::other("nginx does not come to rest"),
        _ => Error::new(LOST, error.to_string()),
    }
}
