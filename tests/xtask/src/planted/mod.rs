//! Plants faults in a copy of this project, one at a time, and has the
//! differential harness find them, or a known case of `compare` where the fault
//! names one. Each that is not found is a blind spot.

mod fault;
mod harness;
mod known;
mod project;

use std::collections::BTreeSet;

use clap::Args;
use xshell::Shell;

use crate::nginx;
use crate::{Result, packages};
use fault::Fault;
use harness::{Found, Harness};
use project::Project;

/// Plants faults in a copy of the project, and has the harness find them
///
/// Plants the faults of tests/xtask/src/planted/faults.txt in a copy of the
/// project, one at a time, and has the differential harness find them, or a known
/// case of compare where the fault names one.
#[derive(Args)]
pub(crate) struct Options {
    /// Only faults with one of these words in their name
    words: Vec<String>,
}

impl Options {
    pub(crate) fn of(words: &[&str]) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Self { words }
    }

    fn choose(&self, fault: &Fault) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| fault.name.contains(word))
    }
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["test"])?;
    let shell = &nginx::under_every_condition(shell)?;
    let project = Project::copy()?;
    let faults = Fault::all()?;
    for fault in &faults {
        fault.planted(&project.original(&fault.file)?)?;
    }

    let faults: Vec<Fault> = faults.into_iter().filter(|f| options.choose(f)).collect();
    let means: BTreeSet<Option<&String>> = faults.iter().map(|fault| fault.case.as_ref()).collect();
    for case in means {
        if let Some(found) = find(shell, &project, case)? {
            return Err(format!("without any fault: {found}").into());
        }
    }

    let (mut planted, mut invariants, mut missed) = (0, 0, 0);
    for fault in &faults {
        let found = try_one(shell, &project, fault)?;
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
    match missed {
        0 => Ok(()),
        _ => Err("the harness has blind spots: see above".into()),
    }
}

/// The copy is as it was when this returns.
fn try_one(shell: &Shell, project: &Project, fault: &Fault) -> Result<Option<Found>> {
    let original = project.original(&fault.file)?;
    project.write(&fault.file, &fault.planted(&original)?)?;
    let found = find(shell, project, fault.case.as_ref());
    project.write(&fault.file, &original)?;
    found.map_err(|error| format!("{}: {error}", fault.name).into())
}

/// Looks for a fault in the copy: in this known case, or by the differential
/// harness.
fn find(shell: &Shell, project: &Project, case: Option<&String>) -> Result<Option<Found>> {
    match case {
        Some(case) => known::find(shell, project, case),
        None => Harness::build(shell, project)?.find(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Fault;
    use crate::Result;
    use crate::project::root;

    /// So a change of the library finds its faults at once, and not only when they are
    /// planted.
    #[test]
    fn what_each_fault_changes_stands_in_its_file_once() -> Result {
        for fault in Fault::all()? {
            fault.planted(&fs::read_to_string(root().join(&fault.file))?)?;
        }
        Ok(())
    }
}
