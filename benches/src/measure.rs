//! Measuring a cell: all sides in turn, round by round.

use std::io::{Error, Result};
use std::time::Duration;

use super::family::{Cell, Side};
use super::front::{Front, Setup};
use super::load;
use super::profile::{Profile, profile};
use super::stage::Stage;
use super::statistics::Spread;
use super::worker::Calls;

/// So many rounds give samples enough.
const PROFILED_ROUNDS: u32 = 4;

/// How thoroughly a cell is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// How long a worker is busy in a round, roughly.
    pub(crate) round: Duration,
    /// Whether to see what that is spent on.
    pub(crate) profile: bool,
}

impl Plan {
    pub(crate) const FULL: Self = Self {
        rounds: 9,
        round: Duration::from_millis(250),
        profile: false,
    };

    pub(crate) const QUICK: Self = Self {
        rounds: 5,
        round: Duration::from_millis(150),
        profile: false,
    };
}

/// What was measured of one cell.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    /// How many responses a round had.
    pub(crate) responses: u64,
    pub(crate) sides: Vec<MeasuredSide>,
}

/// What was measured of one side.
#[derive(Debug)]
pub(crate) struct MeasuredSide {
    pub(crate) side: Side,
    /// Microseconds of the worker's CPU time for a response, for each round.
    pub(crate) cpu: Vec<f64>,
    /// Responses per second, for each round.
    pub(crate) rate: Vec<f64>,
    /// The most memory a worker had, in KiB.
    pub(crate) peak_kib: u64,
    /// Bytes written to disk for a response, for each round; none where that is not
    /// told.
    pub(crate) written: Vec<f64>,
    /// Milliseconds that upstream was busy with a response, for each round of slow
    /// clients.
    pub(crate) busy: Vec<f64>,
    /// System calls for a MiB of bodies, the most frequent first; none where
    /// they could not be counted.
    pub(crate) calls: Option<Vec<(String, f64)>>,
    /// What the CPU time is spent on, if that was to be seen.
    pub(crate) profile: Option<Profile>,
}

impl MeasuredSide {
    fn new(side: Side) -> Self {
        Self {
            side,
            cpu: Vec::new(),
            rate: Vec::new(),
            peak_kib: 0,
            written: Vec::new(),
            busy: Vec::new(),
            calls: None,
            profile: None,
        }
    }
}

impl Measured {
    /// How much CPU time a side takes relative to stock.
    pub(crate) fn to_stock(&self, side: Side) -> Option<Spread> {
        let cpu = |wanted| self.sides.iter().find(|measured| measured.side == wanted);
        let (measured, stock) = (cpu(side)?, cpu(Side::Stock)?);
        Some(Spread::of_ratios(&measured.cpu, &stock.cpu))
    }
}

/// Measures `cell`.
pub(crate) fn measure(stage: &Stage, cell: Cell, plan: Plan) -> Result<Measured> {
    let upstream = stage.upstream(cell)?;
    let setup = Setup {
        family: cell.family,
        upstream: upstream.address(),
        small: None,
        cycles: None,
    };
    let responses = cell.responses(plan.round);
    let sides = stage.sides(cell.family);
    let mut sides: Vec<_> = sides.map(MeasuredSide::new).collect();
    for round in 1..=plan.rounds {
        for side in &mut sides {
            stage.interrupt.check()?;
            // A new process in each round: where its memory happens to lie
            // makes one faster than another, for as long as it lives.
            let front = Front::start(side.side, stage, setup)?;
            warm_up(&front, cell, responses)?;
            measure_round(&front, stage, cell, responses, side)?;
            if round == plan.rounds {
                side.calls = calls(&front, cell, responses)?;
                if plan.profile {
                    side.profile = sample(&front, cell, responses)?;
                }
            }
        }
    }
    Ok(Measured {
        cell,
        responses,
        sides,
    })
}

/// Connections to the upstream, memory, the page cache: all is there afterwards.
fn warm_up(front: &Front, cell: Cell, responses: u64) -> Result<()> {
    load::run(front, cell, cell.family.clients, part(cell, responses))?;
    front.empty_cache()
}

fn measure_round(
    front: &Front,
    stage: &Stage,
    cell: Cell,
    responses: u64,
    side: &mut MeasuredSide,
) -> Result<()> {
    let before = front.worker.cpu()?;
    let written = front.worker.written();
    stage.busy.clear()?;
    let time = load::run(front, cell, cell.family.clients, responses)?;
    let spent = front.worker.cpu()?.checked_sub(before);
    let spent = spent.ok_or_else(|| Error::other("CPU time went back"))?;
    side.cpu.push(spent.as_secs_f64() * 1e6 / responses as f64);
    side.rate.push(responses as f64 / time.as_secs_f64());
    side.peak_kib = side.peak_kib.max(front.worker.peak_kib()?);
    let written = front.worker.written().zip(written);
    let written = written.map(|(after, before)| (after - before) as f64 / responses as f64);
    side.written.extend(written);
    side.busy.extend(stage.busy.mean()?);
    front.empty_cache()
}

/// The system calls for a MiB, in a run that nothing is timed in.
fn calls(front: &Front, cell: Cell, responses: u64) -> Result<Option<Vec<(String, f64)>>> {
    let (clients, responses) = match (cell.family.clients, part(cell, responses)) {
        // One alone is slower even than a worker that is traced.
        (clients, responses) if cell.family.pace.is_some() => (1, responses / clients),
        all => all,
    };
    let calls = front
        .worker
        .calls(|| load::run(front, cell, clients, responses).map(drop))?;
    front.empty_cache()?;
    let mib = (responses * cell.size) as f64 / f64::from(1 << 20);
    Ok(calls.map(|calls| per_mib(&calls, mib)))
}

/// What several rounds are spent on, in which nothing is timed either.
fn sample(front: &Front, cell: Cell, responses: u64) -> Result<Option<Profile>> {
    profile(front.worker, || {
        (0..PROFILED_ROUNDS).try_for_each(|_| {
            load::run(front, cell, cell.family.clients, responses)?;
            front.empty_cache()
        })
    })
}

fn per_mib(calls: &Calls, mib: f64) -> Vec<(String, f64)> {
    let mut calls: Vec<_> = calls
        .iter()
        .map(|(name, count)| (name.clone(), *count as f64 / mib))
        .collect();
    calls.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    calls
}

/// A quarter of a round.
fn part(cell: Cell, responses: u64) -> u64 {
    let clients = cell.family.clients;
    (responses / 4).max(1).next_multiple_of(clients)
}
