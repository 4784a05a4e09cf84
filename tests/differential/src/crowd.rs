//! Many pipes of one worker, which take turns: this project's pipes only.

use std::fmt;

use crate::choices::Choices;
use crate::config::Config;
use crate::feature::Feature;
use crate::schedule::{Clock, Run, is_wrong};
use crate::world::{Side, begin_cycle, end_cycle, start_worker};

/// The most cycles of events; and where much comes in little time.
const CYCLES: u64 = 120;
const HURRIED: u64 = 600;

/// How many events before a fault are worth reading.
const CONTEXT: usize = 16;

/// What is wrong with a member of a crowd: what that member is about, and what it did
/// before.
#[derive(Debug)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a crowd came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// How many times somebody had to wait.
    pub waits: u64,
    /// How many times somebody had the next turn though others waited.
    pub returns: u64,
}

struct Member {
    config: Config,
    run: Run,
}

impl Member {
    fn choose(choices: &mut Choices, is_hurried: bool) -> Self {
        let mut config = Config::choose(choices);
        config.has_state = true;
        config.steps = match is_hurried {
            // Little may be moved in a cycle.
            true => choices.between(CYCLES, HURRIED) / 5 * 5,
            false => choices.between(40, CYCLES),
        };
        config.feature = Some(match choices.one_in(2) {
            true => Feature::Together,
            false => Feature::Turns,
        });
        // So that many have to wait.
        if is_hurried {
            config.be_bulk();
        } else if !choices.one_in(4) {
            config.be_long();
        }
        if is_hurried || !choices.one_in(4) {
            config.faults = 0;
            config.failing = None;
            config.limit_rate = 0;
        }
        let seed = choices.below(1 << 32);
        let run = Run::of_crowd(Side::Ours, &config, Choices::from_seed(seed));
        Self { config, run }
    }

    /// What is wrong with it, if something is.
    fn fault(&self) -> Option<Fault> {
        let trace = self.run.trace();
        let at = trace.iter().position(is_wrong)?;
        let before = &trace[at.saturating_sub(CONTEXT)..=at];
        let events: Vec<_> = before
            .iter()
            .map(|event| format!("\n  {event:?}"))
            .collect();
        Some(Fault(format!("{:#?}{}", self.config, events.concat())))
    }
}

/// Runs a crowd.
pub fn run(seed: u64) -> Result<Summary, Fault> {
    let mut choices = Choices::from_seed(seed);
    start_worker();
    let mut clock = Clock::start();
    let count = choices.between(2, 6);
    // In little time, so much comes that some carry bulk.
    let is_hurried = choices.one_in(6);
    let mut members: Vec<_> = (0..count)
        .map(|_| Member::choose(&mut choices, is_hurried))
        .collect();
    let mut summary = Summary::default();
    // A worker may quit at any time, and its requests end in any order.
    let cycles = choices.between(1, if is_hurried { HURRIED } else { CYCLES });

    for _ in 0..cycles {
        if choices.one_in(if is_hurried { 40 } else { 4 }) {
            clock.advance(&mut choices);
            clock.set();
        }
        begin_cycle();
        for member in &mut members {
            if !choices.one_in(3) {
                member.run.advance(&member.config);
            }
        }
        end_cycle();
        for member in &mut members {
            member.run.end_cycle();
        }
        if let Some(fault) = members.iter().find_map(Member::fault) {
            return Err(fault);
        }
    }
    while !members.is_empty() {
        let at = choices.below(members.len() as u64) as usize;
        let mut member = members.swap_remove(at);
        summary.waits += member.run.waits();
        summary.returns += member.run.returns();
        member.run.end();
        if let Some(fault) = member.fault() {
            return Err(fault);
        }
    }
    Ok(summary)
}
