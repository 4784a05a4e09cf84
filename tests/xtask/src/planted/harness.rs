//! The harness, built from the copy.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output};

use xshell::Shell;

use super::project::Project;
use crate::Result;
use crate::project::in_tests;

/// The profile of which the builds are quick.
const PROFILE: &str = "quick";

/// How the harness looks for a fault: the first that finds it is told.
const MEANS: &[(&str, &[&str])] = &[
    ("schedules", &["--count", "100000"]),
    ("torture", &["--torture", "--count", "300"]),
    ("deviations", &["--deviations", "--count", "20000"]),
    ("features", &["--features", "--count", "40000"]),
    ("crowds", &["--crowds", "--count", "40000"]),
    // For a file to be the last, a thread to be at work when a time-out passes, or
    // a loan to be spilled, much has to come together.
    (
        "files",
        &["--features", "--only", "segments", "--count", "100000"],
    ),
    (
        "time-outs",
        &["--features", "--only", "timeouts", "--count", "150000"],
    ),
    (
        "memory",
        &["--features", "--only", "memory", "--count", "300000"],
    ),
];

/// Without nginx's pipe beside it.
const ALONE: &[&str] = &["--alone", "--count", "20000"];

/// A pipe that goes round in circles shall neither take all memory nor all
/// time: of the processor's, it gets several times what it needs.
const LIMITED: &str = "ulimit -v 4000000; ulimit -t 120; exec \"$0\" \"$@\"";

/// The built program.
pub(crate) struct Harness {
    program: PathBuf,
}

impl Harness {
    /// Builds it.
    pub(crate) fn build(shell: &Shell, project: &Project) -> Result<Self> {
        let build = [
            "--quiet",
            "--profile",
            PROFILE,
            "--package",
            "pipe-differential",
        ];
        let copy = project.shell(shell);
        let output = in_tests(&copy, "build")
            .args(build)
            .ignore_status()
            .output()?;
        if !output.status.success() {
            return Err(text(&output.stderr).into());
        }
        let program = project.target().join(PROFILE).join("pipe-differential");
        Ok(Self { program })
    }

    /// Looks for a fault.
    pub(crate) fn find(&self) -> Result<Option<Found>> {
        for (means, arguments) in MEANS {
            let output = self.run(arguments)?;
            if !output.status.success() {
                return Ok(Some(Found {
                    means: (*means).to_string(),
                    after: Failure::of(&output),
                    alone: self.find_alone()?,
                }));
            }
        }
        Ok(None)
    }

    /// What its invariants say, if they say anything.
    fn find_alone(&self) -> Result<Option<Failure>> {
        let output = self.run(ALONE)?;
        Ok((!output.status.success()).then(|| Failure::of(&output)))
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new("sh")
            .args(["-c", LIMITED])
            .arg(&self.program)
            .args(arguments)
            .output()?;
        Ok(output)
    }
}

/// How a fault was found.
pub(crate) struct Found {
    means: String,
    after: Failure,
    alone: Option<Failure>,
}

impl Found {
    /// In a known case, something is worse than on stock.
    pub(crate) fn by_case(case: &str, worse: &str) -> Self {
        Self {
            means: format!("the case {case}"),
            after: Failure::Told(worse.to_owned()),
            alone: None,
        }
    }

    pub(crate) fn by_invariants(&self) -> bool {
        self.alone.is_some()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}, {}", self.means, self.after)?;
        match &self.alone {
            Some(alone) => write!(f, "; by invariants, {alone}"),
            None => Ok(()),
        }
    }
}

/// How a run of the harness has failed.
enum Failure {
    /// It has told the schedule, as "seed N: ...".
    At(u64),
    /// It has told something else.
    Told(String),
    /// The pipe has taken the process with it, or has not come to an end.
    Broken,
}

impl Failure {
    fn of(output: &Output) -> Self {
        if output.status.code() != Some(1) {
            return Self::Broken;
        }
        let told = text(&output.stderr);
        let seed = told.strip_prefix("seed ").and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse().ok()
        });
        seed.map_or_else(|| Self::Told(told.trim().to_string()), Self::At)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(1) => write!(f, "in the first schedule"),
            Self::At(seed) => write!(f, "after {seed} schedules"),
            Self::Told(what) => write!(f, "as {what}"),
            Self::Broken => write!(f, "which it breaks off"),
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
