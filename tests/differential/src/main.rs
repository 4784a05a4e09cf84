//! Runs nginx's pipe and ours through the same schedules and compares every
//! call, every field and every byte.
//!
//! `differential [--count N] [--seed S]` runs N schedules from S on;
//! `differential --replay S` prints one.

mod config;
mod dice;
mod nginx;
mod schedule;
mod world;

use std::env;
use std::process::ExitCode;

use schedule::Difference;

fn main() -> ExitCode {
    let argument = |name: &str| {
        env::args()
            .skip_while(|word| word != name)
            .nth(1)
            .and_then(|word| word.parse::<u64>().ok())
    };

    // SAFETY: once, before anything else of nginx.
    unsafe { nginx::harness_init() };

    let (seed, count) = match argument("--replay") {
        Some(seed) => (seed, 1),
        None => (
            argument("--seed").unwrap_or(1),
            argument("--count").unwrap_or(200_000),
        ),
    };

    let mut events = 0;
    for seed in seed..seed + count {
        match schedule::run(seed) {
            Ok(compared) => events += compared,
            Err(difference) => {
                report(&difference);
                return ExitCode::FAILURE;
            }
        }
    }

    println!("{count} schedules identical, {events} events compared");
    ExitCode::SUCCESS
}

fn report(d: &Difference) {
    println!("seed {} differs at event {}: {:#?}", d.seed, d.at, d.config);
    for event in &d.stock[d.at.saturating_sub(12)..d.at] {
        println!("  both  {event:?}");
    }
    println!("  stock {:?}", d.stock.get(d.at));
    println!("  ours  {:?}", d.ours.get(d.at));
}
