//! Compares this project's nginx with stock's under random configurations and
//! peers; see `pipe_tests::compare`.

use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pipe_tests::compare::{Campaign, Case, Options, generate};

const USAGE: &str = "\
usage: compare [--count N] [--jobs J] [--seed S] [--minutes M] [--replay FILE] [--show N]

Runs N random cases (1000), J at a time (4), numbered from S (1) on, for M minutes
at most. Or runs the case in FILE, or shows case N as a file has it. NGX_STOCK and NGX_OURS name the programs; what
they do not name is built.
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut options = Options {
        count: 1000,
        jobs: 4,
        seed: 1,
        limit: None,
        folder: PathBuf::from("target/compare"),
    };
    let mut replay = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" {
            print!("{USAGE}");
            return Ok(true);
        }
        let value = arguments.next();
        let value = value.ok_or_else(|| Error::other(format!("{argument} wants a value")))?;
        let number = || {
            let wrong = |_| Error::other(format!("{argument} {value}: not a number"));
            value.parse::<u64>().map_err(wrong)
        };
        match argument.as_str() {
            "--count" => options.count = number()?,
            "--jobs" => options.jobs = number()?.max(1) as usize,
            "--seed" => options.seed = number()?,
            "--minutes" => options.limit = Some(Duration::from_secs(60 * number()?)),
            "--show" => {
                print!("{}", generate(number()?).text());
                return Ok(true);
            }
            "--replay" => replay = Some(PathBuf::from(&value)),
            _ => return Err(Error::other(format!("{argument}?\n{USAGE}"))),
        }
    }
    if options.limit.is_some() && !std::env::args().any(|argument| argument == "--count") {
        options.count = u64::MAX / 2;
    }
    let campaign = Campaign::new(pipe_tests::binaries()?, options)?;
    if let Some(file) = replay {
        let (differences, runs) = campaign.replay(&Case::read(&file)?)?;
        for (stock, ours) in runs.stock.iter().zip(&runs.ours) {
            println!("stock: {:?} {:?}", stock.sizes, stock.details);
            println!("ours:  {:?} {:?}", ours.sizes, ours.details);
        }
        for difference in &differences {
            println!("{difference}");
        }
        return Ok(differences.is_empty());
    }
    let summary = campaign.run();
    print!("{}", summary.text());
    Ok(summary.kinds.is_empty() && summary.errors.is_empty())
}
