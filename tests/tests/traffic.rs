//! Traffic through nginx with stock's pipe and with ours: each case runs on
//! both, in several worlds (event method, threads, sendfile).
//!
//! `PIPE_CASES` is how many cases are drawn at random for each world,
//! `PIPE_SEED` what they are drawn from. With `PIPE_SAMPLE=N`, of those written
//! by hand only every Nth runs.

use std::env;
use std::io::{Error, Result};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pipe_tests::Binaries;
use pipe_tests::traffic::{Case, Flavour, TinyDisk, World, cases};

/// A case mostly waits: many at a time keep the processors busy.
const AT_ONCE: usize = 24;

/// How many cases are drawn for a world, and from what.
const DRAWN: usize = 120;
const SEED: usize = 1;

const EPOLL: Flavour = Flavour::EPOLL;

/// Of the event methods, only epoll goes with threads.
const FLAVOURS: [Flavour; 6] = [
    EPOLL,
    Flavour {
        name: "epoll-threads",
        threads: true,
        ..EPOLL
    },
    Flavour {
        name: "epoll-sendfile-threads",
        threads: true,
        sendfile: true,
        ..EPOLL
    },
    Flavour {
        name: "poll-sendfile",
        method: "poll",
        sendfile: true,
        ..EPOLL
    },
    Flavour {
        name: "select",
        method: "select",
        ..EPOLL
    },
    Flavour {
        name: "debug-threads",
        threads: true,
        debug: true,
        ..EPOLL
    },
];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let disk = TinyDisk::mount();
    let trials = trials(&disk).unwrap_or_else(|error| {
        eprintln!("traffic: {error}");
        std::process::exit(1)
    });
    let conclusion = libtest_mimic::run(&arguments, trials);
    // exit() would leave it behind.
    drop(disk);
    conclusion.exit();
}

fn trials(disk: &Result<TinyDisk>) -> Result<Vec<Trial>> {
    let (count, seed) = (number("PIPE_CASES", DRAWN)?, number("PIPE_SEED", SEED)?);
    let sample = number("PIPE_SAMPLE", 1)?.max(1);
    let binaries = pipe_tests::binaries()?;
    let mut trials = Vec::new();
    for (nth, flavour) in FLAVOURS.into_iter().enumerate() {
        // Another part in each world.
        let by_hand = cases::by_hand().into_iter().skip(nth % sample);
        // What is logged about them all would be gigabytes.
        let step = if flavour.debug { sample.max(5) } else { sample };
        let mut cases: Vec<Case> = by_hand.step_by(step).collect();
        cases.extend(cases::generated((seed + nth) as u64, count));
        add(&mut trials, flavour, cases, &binaries)?;
    }
    for flavour in &FLAVOURS[..2] {
        let name = match flavour.threads {
            true => "faults-threads",
            false => "faults",
        };
        let mut cases = cases::unwritable();
        match disk {
            Ok(disk) => cases.extend(cases::full(disk.path())),
            Err(error) => trials.push(skipped(
                format!("{name}/full"),
                format!("mounting a file system: {error}"),
            )),
        }
        add(&mut trials, Flavour { name, ..*flavour }, cases, &binaries)?;
    }
    Ok(trials)
}

fn number(variable: &str, default: usize) -> Result<usize> {
    let Ok(text) = env::var(variable) else {
        return Ok(default);
    };
    text.parse()
        .map_err(|_| Error::other(format!("{variable}={text}: a number is needed")))
}

fn skipped(name: String, reason: String) -> Trial {
    Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)))
}

/// Adds a test for each of `cases` and one for how their world ends.
fn add(
    trials: &mut Vec<Trial>,
    flavour: Flavour,
    cases: Vec<Case>,
    binaries: &Binaries,
) -> Result<()> {
    let world = World::start(flavour, &cases, binaries)
        .map_err(|error| Error::other(format!("{}: {error}", flavour.name)))?;
    let world = Arc::new(world);
    for (nth, case) in cases.into_iter().enumerate() {
        let world = Arc::clone(&world);
        let name = format!("{}/{}", flavour.name, case.name);
        let run = move || world.run(nth, &case).map_err(Failed::from);
        trials.push(Trial::test(name, run));
    }
    let end = move || last(world).stop().map_err(Failed::from);
    trials.push(Trial::test(format!("{}/end", flavour.name), end));
    Ok(())
}

/// Waits until all others are done with `world`. Tests start in their order,
/// so that these are running, if they are not done (or left out) already.
fn last(mut world: Arc<World>) -> World {
    loop {
        match Arc::try_unwrap(world) {
            Ok(world) => return world,
            Err(shared) => world = shared,
        }
        thread::sleep(Duration::from_millis(10));
    }
}
