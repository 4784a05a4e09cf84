//! All tests: builds nginx from one tree with its own event pipe and with this
//! one, compares the two under real traffic, and counts.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use clap::Args;
use xshell::{Cmd, Shell, cmd};

use crate::Result;
use crate::nginx::{self, COMPILER};
use crate::packages;
use crate::project::{in_tests, say};

/// How the harness is run, and how many schedules are enough for every change.
const HARNESS: &[&[&str]] = &[
    &["--count", "500000"],
    &["--torture", "--count", "2000"],
    &["--deviations", "--count", "100000"],
    &["--features", "--count", "100000"],
    &["--crowds", "--count", "50000"],
];

/// Runs all tests: this pipe against nginx's own, and what only this one does
///
/// Builds nginx from one tree with its own event pipe and with this one, compares
/// the two under real traffic, and counts. Or runs one of the tests with real
/// nginx processes.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this test, such as traffic or time
    test: Option<String>,
    /// What it is given: words that the names of its cases have, options of
    /// cargo's tests
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Options {
    pub(crate) const ALL: Self = Self {
        test: None,
        words: Vec::new(),
    };
}

/// Runs the differential harness: nginx's pipe and this one, call for call
#[derive(Args)]
pub(crate) struct Harness {
    /// The harness' own, such as --count 1000000 --jobs 2; -- --help has all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["test"])?;
    match &options.test {
        Some(test) => {
            let run = in_tests(shell, "test").args(["--package", "pipe-tests", "--test", test]);
            Ok(run.arg("--").args(&options.words).run()?)
        }
        None => run_all(shell),
    }
}

pub(crate) fn harness(shell: &Shell, options: &Harness) -> Result {
    packages::need(shell, &[])?;
    let compiler = nginx::compiler(&nginx::build(shell, &[])?);
    let program = [
        "--quiet",
        "--release",
        "--package",
        "pipe-differential",
        "--",
    ];
    let run = in_tests(shell, "run").args(program).args(&options.words);
    Ok(run.env(COMPILER, compiler).run()?)
}

fn run_all(shell: &Shell) -> Result {
    let shell = shell.clone();
    let mut checks = Checks::default();

    say("building nginx with this pipe");
    let nginx = nginx::build(&shell, &[])?;
    cmd!(shell, "{nginx} -v").quiet().run()?;

    say("unit tests, and the layout of nginx's structures");
    shell.set_var(COMPILER, nginx::compiler(&nginx));
    let unit_tests = cmd!(shell, "cargo test --quiet --package ngx-event-pipe");
    checks.check(unit_tests)?;
    let tools = ["--quiet", "--package", "xtask", "--package", "pipe-options"];
    checks.check(in_tests(&shell, "test").args(tools))?;

    say("call for call: the same schedules through nginx's pipe and this one");
    let harness = ["--quiet", "--release", "--package", "pipe-differential"];
    checks.check(in_tests(&shell, "test").args(harness))?;
    for words in HARNESS {
        let run = in_tests(&shell, "run").args(harness);
        checks.check(run.arg("--").args(*words))?;
    }

    say("header, build, traffic, torture, real peers: this pipe against nginx's own");
    let all = ["--package", "pipe-tests", "--no-fail-fast", "--", "--quiet"];
    checks.check(in_tests(&shell, "test").args(all))?;

    say("nginx's own test suite");
    if shell.var("NGINX_TESTS").is_ok() {
        packages::need(&shell, &["suite"])?;
    }
    let suite = ["--quiet", "--package", "pipe-tests", "--bin", "suite"];
    checks.check(in_tests(&shell, "run").args(suite))?;

    say("in all");
    println!("{}", checks.counts);
    checks.verdict()
}

/// What has been run so far.
#[derive(Default)]
struct Checks {
    counts: Counts,
    failed: Vec<String>,
}

impl Checks {
    /// Runs a command, counts the tests that it tells of, and notes a failure.
    fn check(&mut self, command: Cmd<'_>) -> Result {
        let words = command.to_string();
        let (succeeded, output) = watched(command.into())?;
        self.counts.add(&output);
        if !succeeded {
            self.failed.push(format!("failed: {words}"));
        }
        Ok(())
    }

    fn verdict(&self) -> Result {
        match self.failed.is_empty() {
            true => Ok(()),
            false => Err(self.failed.join("\n").into()),
        }
    }
}

/// Runs a command, whose output goes on as it comes, and returns it.
fn watched(mut command: Command) -> Result<(bool, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("no output")?;
    let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = output.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        io::stdout().write_all(&bytes[..count])?;
        io::stdout().flush()?;
        all.extend_from_slice(&bytes[..count]);
    }
    let succeeded = child.wait()?.success();
    Ok((succeeded, String::from_utf8_lossy(&all).into_owned()))
}

/// How tests went.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds what cargo prints at the end of each program of tests:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, output: &str) {
        let results = output
            .lines()
            .filter_map(|line| line.strip_prefix("test result: "));
        for part in results.flat_map(|line| line.split([';', '.'])) {
            let mut words = part.split_whitespace();
            let (count, what) = (words.next(), words.next());
            let Some(count) = count.and_then(|count| count.parse::<u64>().ok()) else {
                continue;
            };
            match what {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => (),
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_cargo_prints() {
        let mut counts = Counts::default();
        counts.add(
            "\nrunning 4 tests\n...i\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.25s\n",
        );
        counts.add("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured\n");
        assert_eq!(counts.to_string(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_command_that_fails_is_noted() -> Result {
        let shell = Shell::new()?;
        let mut checks = Checks::default();
        checks.check(cmd!(shell, "true"))?;
        assert!(checks.verdict().is_ok());
        checks.check(cmd!(shell, "false"))?;
        let error = checks.verdict().expect_err("a failure");
        assert_eq!(error.to_string(), "failed: false");
        Ok(())
    }
}
