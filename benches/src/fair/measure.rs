//! Measuring a row: all sides in turn, round by round.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::cycles::Cycles;
use pipe_tests::server::wait;

use super::super::client::Connection;
use super::super::family::{Cell, Side};
use super::super::front::{Front, Setup};
use super::super::machine::hurry;
use super::super::server::Server;
use super::super::stage::Stage;
use super::Row;
use super::origin::{self, Origin};

/// Between a response and the next small request: without it they would keep
/// the downloads from their core, and most would come while the worker is idle.
const PAUSE: Duration = Duration::from_millis(1);

/// How thoroughly a row is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// In so much time the downloads begin, one after the other; when the last
    /// has begun, they have as much again before anything is measured.
    start: Duration,
    /// For so long it is measured.
    pub(crate) round: Duration,
}

impl Plan {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        start: Duration::from_millis(300),
        round: Duration::from_secs(1),
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
    let scene = Scene::set_up(stage, row, side)?;
    let server = scene.front.address;
    // What small requests need is there before the downloads come.
    let mut connection = Connection::open(server, None)?;
    connection.fetch(row.small())?;

    let over = &AtomicBool::new(false);
    let clients = row.traffic.clients as u32;
    thread::scope(|scope| {
        let begin = |client| {
            let delay = plan.start * client / clients;
            scope.spawn(move || download(server, row.download(), delay, over))
        };
        let downloads: Vec<_> = (0..clients).map(begin).collect();
        wait(|| scene.origin.begun() >= row.traffic.clients);
        thread::sleep(plan.start);
        let round = scene.watch(connection, plan.round);
        over.store(true, Ordering::Relaxed);
        // The end of the program ends the downloads.
        drop(scene);
        let mut outcomes = downloads.into_iter().map(|thread| thread.join());
        outcomes.try_for_each(|outcome| outcome.expect("a client does not panic"))?;
        round
    })
}

/// A program and its upstreams, for one round. Dropped from top to bottom.
struct Scene {
    row: &'static Row,
    front: Front,
    /// Of nginx.
    cycles: Option<Cycles>,
    origin: Origin,
    _small: Server,
}

impl Scene {
    fn set_up(stage: &Stage, row: &'static Row, side: Side) -> Result<Self> {
        let (small, origin) = (origin::small()?, Origin::start(row.pace())?);
        let cycles = side.is_nginx().then(Cycles::new).transpose()?;
        let setup = Setup {
            family: &row.traffic,
            upstream: origin.address(),
            small: Some(small.address()),
            cycles: cycles.as_ref(),
        };
        Ok(Self {
            row,
            front: Front::start(side, stage, setup)?,
            cycles,
            origin,
            _small: small,
        })
    }

    /// Sees for so long how small requests and downloads fare.
    fn watch(&self, connection: Connection, time: Duration) -> Result<Round> {
        if let Some(cycles) = &self.cycles {
            cycles.restart(self.front.worker.0)?;
        }
        let (start, sent) = (Instant::now(), self.origin.sent());
        let waits = waits(connection, self.row.small(), time)?;
        let sent = (self.origin.sent() - sent) as f64;
        Ok(Round {
            waits,
            rate: sent / 1e6 / start.elapsed().as_secs_f64(),
            cycle: self.cycles.as_ref().map(cycle).transpose()?,
        })
    }
}

/// Asks again and again for so long; returns how long each response took.
fn waits(mut connection: Connection, cell: Cell, time: Duration) -> Result<Vec<f64>> {
    let ask = move || {
        hurry();
        let start = Instant::now();
        let mut waits = Vec::new();
        while start.elapsed() < time {
            let asked = Instant::now();
            connection.fetch(cell)?;
            waits.push(milliseconds(asked.elapsed()));
            thread::sleep(PAUSE);
        }
        Ok(waits)
    };
    // Only this thread is to hurry.
    thread::scope(|scope| scope.spawn(ask).join().expect("a client does not panic"))
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
