//! Runs nginx's pipe and ours through the same schedules.

use std::env;
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use pipe_differential::choices::Choices;
use pipe_differential::config::WriteFailure;
use pipe_differential::deviation::Deviation;
use pipe_differential::feature::Feature;
use pipe_differential::schedule::{self, Difference};
use pipe_differential::{init, report, shrunk};

const USAGE: &str = "\
usage: pipe-differential [--count N] [--seed S] [--jobs J]
       pipe-differential --deviations [--only NAME] [--count N] [--seed S]
       pipe-differential --features [--only NAME] [--count N] [--seed S]
       pipe-differential --torture [--count N] [--seed S]
       pipe-differential --alone [--count N] [--seed S]
       pipe-differential --replay S | --choices N,N,...

Runs N schedules, from seed S on, through nginx's pipe and through this one,
in J processes, and compares everything that they do.

  --deviations  leaves the known defects of nginx's pipe alone, one at a time,
                and checks that every difference comes of it; with --only, just
                that one: full-header, unsent-rest, taken-back, wall-clock
                or unwatched
  --features    turns on what this pipe does beyond nginx's, one feature at a
                time, and checks that every difference comes of it and that no
                invariant breaks; with --only, just that one: wide, lend,
                fallback, segments, delay, stream, timeouts or together
  --torture     lets each call of a schedule that can fail do so, in turn
  --alone       runs this pipe only, and checks the invariants only
  --replay      runs the schedule of one seed
  --choices     runs the schedule that a report has told
";

type Result<T> = std::result::Result<T, String>;

struct Options {
    mode: Mode,
    seed: u64,
    count: u64,
    jobs: u64,
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Compare,
    Deviations,
    Features,
    Torture,
    Alone,
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
    let mut options = Options {
        mode: Mode::Compare,
        seed: 1,
        count: 200_000,
        jobs: 1,
        only: None,
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" => {
                print!("{USAGE}");
                return Ok(());
            }
            "--deviations" => options.mode = Mode::Deviations,
            "--features" => options.mode = Mode::Features,
            "--only" => options.only = Some(value()?),
            "--torture" => options.mode = Mode::Torture,
            "--alone" => options.mode = Mode::Alone,
            "--seed" => options.seed = number(&value()?)?,
            "--count" => options.count = number(&value()?)?,
            "--jobs" => options.jobs = number(&value()?)?.max(1),
            "--replay" => {
                let seed = number(&value()?)?;
                return replay(Choices::from_seed(seed));
            }
            "--choices" => {
                let list: Result<Vec<u32>> = value()?
                    .split(',')
                    .map(|word| number(word).map(|number| number as u32))
                    .collect();
                return replay(Choices::from_list(&list?));
            }
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    match options.mode {
        Mode::Compare if options.jobs > 1 => spread(&options),
        Mode::Compare => compare(options.seed, options.count),
        Mode::Deviations => deviations(&options),
        Mode::Features => features(&options),
        Mode::Torture => torture(options.seed, options.count),
        Mode::Alone => alone(options.seed, options.count),
    }
}

fn number(word: &str) -> Result<u64> {
    word.parse().map_err(|_| format!("{word} is not a number"))
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
