//! What a response costs the worker while others stand: a response that has sent
//! all it has must not keep what another one needs.

use std::fs;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Case, Request};
use super::{model, reader};

/// How often the probe is asked for when nothing else goes on: the cheapest counts.
const TIMES: usize = 3;

/// How long the worker has for taking back what it has lent.
const PATIENCE: Duration = Duration::from_secs(6);

/// The rest between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A response of a running nginx that is asked for by itself.
#[derive(Debug)]
pub(super) struct Probe {
    /// With the request for the probe as its only one.
    case: Case,
    worker: u32,
    address: SocketAddr,
    /// How many reads the worker needs when nothing else goes on.
    alone: usize,
    /// How much of the body the first client of the case has when a reply stands.
    pub(super) due: usize,
}

impl Probe {
    /// Asks for the probe of a case, if it has one, before all requests of it.
    pub(super) fn new(case: &Case, worker: u32, address: SocketAddr) -> Result<Option<Self>> {
        let Some(location) = case.probe else {
            return Ok(None);
        };
        let mut probe = Self {
            case: Case {
                requests: vec![Request::plain(location)],
                ..case.clone()
            },
            worker,
            address,
            alone: usize::MAX,
            due: due(case),
        };
        for _ in 0..TIMES {
            probe.alone = probe.alone.min(probe.reads()?);
        }
        Ok(Some(probe))
    }

    /// Whether the worker needs more than twice the reads, again and again: in words.
    pub(super) fn costs_more(&self) -> Result<Option<String>> {
        let start = Instant::now();
        let mut reads = self.reads()?;
        while reads > 2 * self.alone && start.elapsed() < PATIENCE {
            thread::sleep(PAUSE);
            reads = reads.min(self.reads()?);
        }
        let more = format!("{reads} reads, {} alone", self.alone);
        Ok((reads > 2 * self.alone).then_some(more))
    }

    /// How many reads the worker needs for the probe.
    fn reads(&self) -> Result<usize> {
        let before = reads(self.worker)?;
        reader::fetch_all(&self.case, self.address, &|_| {})?;
        Ok(reads(self.worker)? - before)
    }
}

/// How much of the body the first client gets before a reply stands.
fn due(case: &Case) -> usize {
    let pieces = model::pieces(case, &case.requests[0]);
    let stands = case.locations.iter().position(|here| here.reply.stands);
    let due = stands.and_then(|nth| model::reached(&pieces, nth, 0));
    due.unwrap_or(0)
}

/// How many reads from files and sockets a process has made.
fn reads(process: u32) -> Result<usize> {
    let text = fs::read_to_string(format!("/proc/{process}/io"))?;
    let count = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    let count = count.and_then(|count| count.parse().ok());
    count.ok_or_else(|| Error::other("the system does not count reads"))
}
