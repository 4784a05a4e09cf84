//! Small changes of the library's logic, which its tests have to notice.

use std::fs;
use std::path::Path;

use clap::Args;
use xshell::{Shell, cmd};

use crate::Result;
use crate::exceptions::{IN_VAIN, source_at, unexplained};
use crate::nginx;
use crate::packages::{self, is_command};
use crate::project::{in_tests, logic, target};

/// Changes the logic in every small way, and has the tests notice
///
/// Changes the library's logic in every small way that cargo-mutants knows, one
/// at a time, and lets the unit tests and the differential harness notice the
/// change. Fails where a change is noticed by nothing, and not explained by
/// tests/exceptions/mutants.txt.
#[derive(Args)]
pub(crate) struct Options {
    /// cargo-mutants' own, such as --shard 1/8 or --file src/read.rs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

const EXCEPTIONS: &str = "tests/exceptions/mutants.txt";

/// The library is built as a part of the tests' workspace, whose harness tests
/// it. Whether the harness passes without a change is known before.
const HOW: &[&str] = &[
    "--package=ngx-event-pipe",
    "--cargo-arg=--manifest-path=tests/Cargo.toml",
    "--cargo-arg=--package=pipe-differential",
    "--profile=quick",
    "--baseline=skip",
    "--timeout=60",
    "--no-times",
];

/// A change can make the pipe go round in circles: it shall not take all memory.
const LIMITED: &str = "ulimit -v 8000000; exec \"$0\" \"$@\"";

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &[])?;
    if !is_command("cargo-mutants") {
        cmd!(shell, "cargo install --locked --quiet cargo-mutants")
            .quiet()
            .run()?;
    }
    let shell = &nginx::under_every_condition(shell)?;
    let outcome = target().join("mutants.out");
    shell.remove_path(&outcome)?;

    // All that follows would fail for nothing if this did.
    let harness = [
        "--quiet",
        "--profile",
        "quick",
        "--package",
        "pipe-differential",
    ];
    in_tests(shell, "test")
        .args(harness)
        .ignore_stdout()
        .run()?;

    let whole = options.options.is_empty();
    let mut words = options.options.clone();
    if whole {
        words = logic(shell)?
            .iter()
            .map(|file| format!("--file={file}"))
            .collect();
    }
    let output = target();
    // How many were noticed is counted below, whatever it says itself.
    cmd!(
        shell,
        "sh -c {LIMITED} cargo mutants {HOW...} --output {output} {words...}"
    )
    .quiet()
    .ignore_status()
    .run()?;
    judge(&outcome, whole)
}

/// Compares what was not noticed with what is explained.
fn judge(outcome: &Path, whole: bool) -> Result {
    let list = |name: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(outcome.join(name))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let caught = list("caught.txt")?.len() + list("timeout.txt")?.len();
    let missed = list("missed.txt")?;
    let unviable = list("unviable.txt")?.len();
    if caught + missed.len() == 0 {
        return Err("no change was tried".into());
    }

    let survivors: Result<Vec<_>> = missed.iter().map(|line| survivor(line)).collect();
    let mut complaints = unexplained(&survivors?, EXCEPTIONS)?;
    // Of some changes only, the list explains more than can be found.
    complaints.retain(|complaint| whole || !complaint.starts_with(IN_VAIN));
    for complaint in &complaints {
        println!("{complaint}");
    }
    let (missed, complaints) = (missed.len(), complaints.len());
    println!(
        "{caught} changes noticed, {missed} not, of which {complaints} are not as explained; \
         {unviable} do not compile"
    );
    match complaints {
        0 => Ok(()),
        _ => Err("not all changes are noticed or explained".into()),
    }
}

/// `src/rate.rs:14:5: replace ...` without the place, which moves, but with what
/// stands there.
fn survivor(line: &str) -> Result<String> {
    let mut parts = line.splitn(4, ':');
    let mut part = || parts.next().ok_or(format!("not a change: {line}"));
    let (file, number, _, change) = (part()?, part()?, part()?, part()?);
    let source = source_at(file, number.parse()?, 1)?;
    Ok(format!("{file}:{change}: {source}"))
}
