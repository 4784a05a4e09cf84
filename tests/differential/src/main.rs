//! Runs nginx's pipe and ours through the same schedules.

use std::env;
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use clap::{Args, Parser};
use pipe_differential::choices::Choices;
use pipe_differential::config::WriteFailure;
use pipe_differential::deviation::Deviation;
use pipe_differential::feature::Feature;
use pipe_differential::schedule::{self, Difference};
use pipe_differential::{crowd, init, report, shrunk};

type Result<T> = std::result::Result<T, String>;

/// Runs N schedules, from seed S on, through nginx's pipe and through this one,
/// and compares everything that they do
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    mode: Mode,
    /// How many schedules
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    count: u64,
    /// The seed of the first
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// In so many processes
    #[arg(long, value_name = "J", default_value_t = 1)]
    jobs: u64,
    /// Just this one deviation (full-header, unsent-rest, taken-back,
    /// wall-clock or unwatched) or feature (wide, memory, fallback, segments,
    /// delay, stream, timeouts, turns or together)
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// What is done other than comparing.
#[derive(Args)]
#[group(multiple = false)]
struct Mode {
    /// Leaves the known defects of nginx's pipe alone, one at a time, and checks
    /// that every difference comes of it
    #[arg(long)]
    deviations: bool,
    /// Turns on what this pipe does beyond nginx's, one feature at a time, and
    /// checks that every difference comes of it and that no invariant breaks
    #[arg(long)]
    features: bool,
    /// Has many pipes of one worker take turns, and checks the invariants
    #[arg(long)]
    crowds: bool,
    /// Lets each call of a schedule that can fail do so, in turn
    #[arg(long)]
    torture: bool,
    /// Runs this pipe only, and checks the invariants only
    #[arg(long)]
    alone: bool,
    /// Runs the schedule of one seed
    #[arg(long, value_name = "S")]
    replay: Option<u64>,
    /// Runs the schedule that a report has told
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    choices: Option<Vec<u32>>,
}

fn main() -> ExitCode {
    init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse();
    let mode = &options.mode;
    if let Some(seed) = mode.replay {
        replay(Choices::from_seed(seed))
    } else if let Some(list) = &mode.choices {
        replay(Choices::from_list(list))
    } else if mode.deviations {
        deviations(&options)
    } else if mode.features {
        features(&options)
    } else if mode.crowds {
        crowds(options.seed, options.count)
    } else if mode.torture {
        torture(options.seed, options.count)
    } else if mode.alone {
        alone(options.seed, options.count)
    } else if options.jobs > 1 {
        spread(&options)
    } else {
        compare(options.seed, options.count)
    }
}

fn replay(choices: Choices) -> Result<()> {
    let summary =
        schedule::compare(choices.recorded()).map_err(|difference| report(&difference))?;
    println!("identical, {} events compared", summary.events);
    Ok(())
}

fn compare(seed: u64, count: u64) -> Result<()> {
    let start = Instant::now();
    let mut events = 0;
    for seed in seed..seed + count {
        match schedule::compare(Choices::from_seed(seed)) {
            Ok(summary) => events += summary.events,
            Err(_) => return Err(explain(seed)),
        }
    }
    let seconds = start.elapsed().as_secs();
    println!("{count} schedules identical, {events} events compared, {seconds} s");
    Ok(())
}

/// Runs a schedule again that has failed, and makes it small.
fn explain(seed: u64) -> String {
    let again = schedule::compare(Choices::from_seed(seed).recorded());
    match again {
        Err(difference) => format!("seed {seed}: {}", report(&shrunk(*difference))),
        Ok(_) => format!("seed {seed} failed once and does not fail again"),
    }
}

/// nginx's globals allow one schedule at a time in a process.
fn spread(options: &Options) -> Result<()> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let share = options.count.div_ceil(options.jobs);
    let jobs: Result<Vec<Child>> = (0..options.jobs)
        .map(|job| {
            Command::new(&program)
                .args(["--seed", &(options.seed + job * share).to_string()])
                .args(["--count", &share.to_string()])
                .spawn()
                .map_err(|error| error.to_string())
        })
        .collect();
    let mut failed = 0;
    for mut job in jobs? {
        let status = job.wait().map_err(|error| error.to_string())?;
        failed += u32::from(!status.success());
    }
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} of {} jobs failed", options.jobs)),
    }
}

fn deviations(options: &Options) -> Result<()> {
    let count = options.count;
    for deviation in wanted(options, &Deviation::ALL, Deviation::named)? {
        let (mut differ, mut wrong) = (0, 0);
        for seed in options.seed..options.seed + count {
            let choices = Choices::from_seed(seed).recorded();
            let effect = schedule::attribute(choices, deviation).map_err(|difference| {
                format!(
                    "seed {seed} differs for another reason than {}: {}",
                    deviation.name(),
                    report(&difference)
                )
            })?;
            differ += u64::from(effect.differs);
            wrong += u64::from(effect.breaks);
        }
        if differ == 0 {
            // Too few schedules, or the harness compares nothing.
            return Err(format!("{} makes no difference", deviation.name()));
        }
        println!(
            "{:12} {differ} of {count} schedules differ, all because of it; \
             nginx's pipe breaks an invariant in {wrong}, this one in none",
            deviation.name()
        );
    }
    Ok(())
}

/// All of them, or the one that was asked for.
fn wanted<T: Copy>(options: &Options, all: &[T], named: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    match &options.only {
        None => Ok(all.to_vec()),
        Some(name) => {
            let one = named(name).ok_or(format!("there is no {name}"))?;
            Ok(vec![one])
        }
    }
}

fn features(options: &Options) -> Result<()> {
    let count = options.count;
    for feature in wanted(options, &Feature::ALL, Feature::named)? {
        let mut differ = 0;
        for seed in options.seed..options.seed + count {
            let choices = Choices::from_seed(seed).recorded();
            let parted = schedule::with_feature(choices, feature).map_err(|difference| {
                format!(
                    "seed {seed}, with {}: {}",
                    feature.name(),
                    report(&difference)
                )
            })?;
            differ += u64::from(parted);
        }
        if differ == 0 {
            return Err(format!("{} makes no difference", feature.name()));
        }
        println!(
            "{:12} {differ} of {count} schedules differ, all because of it; no invariant broken",
            feature.name()
        );
    }
    Ok(())
}

fn alone(seed: u64, count: u64) -> Result<()> {
    for seed in seed..seed + count {
        if let Some(what) = schedule::alone(Choices::from_seed(seed)) {
            return Err(format!("seed {seed}: {what}"));
        }
    }
    println!("{count} schedules, no invariant broken");
    Ok(())
}

fn crowds(seed: u64, count: u64) -> Result<()> {
    let (mut waits, mut returns) = (0, 0);
    for seed in seed..seed + count {
        let summary = crowd::run(seed).map_err(|fault| format!("seed {seed}: {fault}"))?;
        waits += summary.waits;
        returns += summary.returns;
    }
    if waits == 0 || returns == 0 {
        return Err("nobody has had to wait".into());
    }
    println!(
        "{count} crowds, {waits} waits for a turn, {returns} turns in a row, no invariant broken"
    );
    Ok(())
}

/// Each schedule once as it is, and then again and again with another of its
/// calls failing, until there is none left.
fn torture(seed: u64, count: u64) -> Result<()> {
    let mut failures = 0;
    for seed in seed..seed + count {
        for write_failure in WriteFailure::ALL {
            failures += torture_one(seed, write_failure)
                .map_err(|difference| format!("seed {seed}: {}", report(&difference)))?;
        }
    }
    println!("{count} schedules, {failures} failures of single calls, all with the same outcome");
    Ok(())
}

fn torture_one(
    seed: u64,
    write_failure: WriteFailure,
) -> std::result::Result<u64, Box<Difference>> {
    for nth in 0.. {
        let choices = Choices::from_seed(seed).recorded();
        let summary = schedule::compare_with(choices, |config| {
            config.faults = 0;
            config.failing = Some(nth);
            config.write_failure = write_failure;
        })?;
        if !summary.failed {
            return Ok(nth.into());
        }
    }
    Ok(0)
}
