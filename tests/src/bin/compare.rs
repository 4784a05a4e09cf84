//! Compares this project's nginx with stock's under random configurations and
//! peers; see `pipe_tests::compare`.

use std::io::Result;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pipe_tests::build::target;
use pipe_tests::compare::{Campaign, Case, Options, generate};

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
    let asked = pipe_options::Compare::parse();
    if let Some(number) = asked.show {
        print!("{}", generate(number).text());
        return Ok(true);
    }
    let limit = asked
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let default = if limit.is_some() { u64::MAX / 2 } else { 1000 };
    let options = Options {
        count: asked.count.unwrap_or(default),
        jobs: asked.jobs.into(),
        seed: asked.seed,
        limit,
        folder: target().join("compare"),
    };
    let campaign = Campaign::new(pipe_tests::binaries()?, options)?;
    if let Some(file) = asked.replay {
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
