//! Plants faults in a copy of this project, one at a time, and has the
//! differential harness find them. Each that it does not find is a blind spot.
//!
//! `planted [WORD...]`: only the faults that have one of these words in their
//! name.

mod fault;
mod harness;
mod project;

use std::env;
use std::process::ExitCode;

use fault::Fault;
use harness::{Found, Harness};
use project::Project;

/// Shorthand for everything here that can fail.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many faults were not found.
fn run() -> Result<usize> {
    let words: Vec<String> = env::args().skip(1).collect();
    let project = Project::copy()?;
    let faults = Fault::all()?;
    for fault in &faults {
        fault.planted(&project.original(&fault.file)?)?;
    }

    let harness = Harness::build(&project)?;
    if let Some(found) = harness.find()? {
        return Err(format!("without any fault: {found}").into());
    }

    let chosen = |fault: &&Fault| words.is_empty() || words.iter().any(|w| fault.name.contains(w));
    let (mut planted, mut invariants, mut missed) = (0, 0, 0);
    for fault in faults.iter().filter(chosen) {
        let found = try_one(&project, fault)?;
        planted += 1;
        missed += usize::from(found.is_none());
        invariants += usize::from(found.as_ref().is_some_and(Found::by_invariants));
        match found {
            Some(found) => println!("found   {}: {found}", fault.name),
            None => println!("MISSED  {} ({})", fault.name, fault.file),
        }
    }
    println!(
        "{planted} faults planted, {} found, {missed} missed; {invariants} would be found without nginx's pipe",
        planted - missed
    );
    Ok(missed)
}

/// The copy is as it was when this returns.
fn try_one(project: &Project, fault: &Fault) -> Result<Option<Found>> {
    let original = project.original(&fault.file)?;
    project.write(&fault.file, &fault.planted(&original)?)?;
    let found = Harness::build(project)
        .map_err(|error| format!("{}: {error}", fault.name))?
        .find();
    project.write(&fault.file, &original)?;
    found
}
