//! Measuring a row: all sides in turn, round by round.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::cycles::Cycles;

use super::super::client::Connection;
use super::super::family::{Cell, Side};
use super::super::front::{Front, Setup};
use super::super::machine::hurry;
use super::super::stage::Stage;
use super::Row;
use super::origin::Origin;

/// How thoroughly a row is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// In so much time the downloads begin, one after the other; they have as
    /// much again before anything is measured.
    start: Duration,
    /// For so long it is measured.
    pub(crate) round: Duration,
}

impl Plan {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        start: Duration::from_millis(400),
        round: Duration::from_secs(2),
    };

    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        start: Duration::from_millis(200),
        round: Duration::from_millis(400),
    };
}

/// What was measured of one row.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) sides: Vec<MeasuredSide>,
}

/// What was measured of one side.
#[derive(Debug)]
pub(crate) struct MeasuredSide {
    pub(crate) side: Side,
    pub(crate) rounds: Vec<Round>,
}

/// What one round gave; all times in milliseconds.
#[derive(Debug)]
pub(crate) struct Round {
    /// How long each small request took.
    pub(crate) waits: Vec<f64>,
    /// What upstream sent for the downloads, in MB per second.
    pub(crate) rate: f64,
    /// The cycles of the worker; none where they could not be seen.
    pub(crate) cycle: Option<Cycle>,
}

/// How long the worker did not look for events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cycle {
    pub(crate) p999: f64,
    pub(crate) longest: f64,
}

/// Measures `row`.
pub(crate) fn measure(stage: &Stage, row: &'static Row, plan: Plan) -> Result<Measured> {
    let new = |side| MeasuredSide {
        side,
        rounds: Vec::new(),
    };
    let mut sides: Vec<_> = stage.sides(&row.traffic).map(new).collect();
    for _ in 0..plan.rounds {
        for side in &mut sides {
            stage.interrupt.check()?;
            side.rounds.push(round(stage, row, side.side, plan)?);
        }
    }
    Ok(Measured { row, sides })
}

fn round(stage: &Stage, row: &'static Row, side: Side, plan: Plan) -> Result<Round> {
    let origin = Origin::start(row.pace())?;
    let cycles = side.is_nginx().then(Cycles::new).transpose()?;
    let setup = Setup {
        family: &row.traffic,
        upstream: origin.address(),
        cycles: cycles.as_ref(),
    };
    let front = Front::start(side, stage, setup)?;
    let (address, over) = (front.address, &AtomicBool::new(false));
    let clients = row.traffic.clients as u32;
    thread::scope(|scope| {
        let begin = |client| {
            let delay = plan.start * client / clients;
            scope.spawn(move || download(address, row.download(), delay, over))
        };
        let downloads: Vec<_> = (0..clients).map(begin).collect();
        thread::sleep(plan.start * 2);
        let round = watch(&front, row, &origin, cycles.as_ref(), plan.round);
        over.store(true, Ordering::Relaxed);
        // It ends the downloads.
        drop(front);
        let mut outcomes = downloads.into_iter().map(|thread| thread.join());
        outcomes.try_for_each(|outcome| outcome.expect("a client does not panic"))?;
        round
    })
}

/// Downloads again and again until all is over, which is no error.
fn download(server: SocketAddr, cell: Cell, delay: Duration, over: &AtomicBool) -> Result<()> {
    thread::sleep(delay);
    let fetch_all = || {
        let mut connection = Connection::open(server, cell.family.pace)?;
        loop {
            connection.fetch(cell)?;
        }
    };
    let outcome: Result<()> = fetch_all();
    match over.load(Ordering::Relaxed) {
        true => Ok(()),
        false => outcome,
    }
}

/// Sees how small requests and downloads fare for so long.
fn watch(
    front: &Front,
    row: &'static Row,
    origin: &Origin,
    cycles: Option<&Cycles>,
    time: Duration,
) -> Result<Round> {
    if let Some(cycles) = cycles {
        cycles.restart(front.worker.0)?;
    }
    let (start, sent) = (Instant::now(), origin.sent());
    let waits = waits(front.address, row.small(), time)?;
    let rate = (origin.sent() - sent) as f64 / 1e6 / start.elapsed().as_secs_f64();
    Ok(Round {
        waits,
        rate,
        cycle: cycles.map(cycle).transpose()?,
    })
}

/// Asks again and again for so long, on one connection; returns how long each
/// response took.
fn waits(server: SocketAddr, cell: Cell, time: Duration) -> Result<Vec<f64>> {
    let ask = || {
        hurry();
        let mut connection = Connection::open(server, None)?;
        let start = Instant::now();
        let mut waits = Vec::new();
        while start.elapsed() < time {
            let asked = Instant::now();
            connection.fetch(cell)?;
            waits.push(milliseconds(asked.elapsed()));
        }
        Ok(waits)
    };
    // Only this thread is to hurry.
    thread::scope(|scope| scope.spawn(ask).join().expect("a client does not panic"))
}

fn cycle(cycles: &Cycles) -> Result<Cycle> {
    let lengths = cycles.lengths()?;
    Ok(Cycle {
        p999: milliseconds(lengths.quantile(0.999)),
        longest: milliseconds(lengths.longest),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
