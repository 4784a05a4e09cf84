//! h2load as the client: many streams at once through windows of any size.

use std::io::{self, Error};
use std::process::Command;

use super::program::{command, run};

/// One h2load command to be.
#[derive(Debug)]
pub struct H2load {
    command: Command,
}

/// What h2load counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Responses with a good status that came to their end.
    pub succeeded: u64,
    /// All others.
    pub failed: u64,
    /// Bytes of bodies, all responses together.
    pub data: u64,
}

impl H2load {
    /// Requests for `url`.
    pub fn new(url: impl AsRef<str>) -> Self {
        let mut command = command("h2load");
        // A connection that stands still is a failure, not a hanging test.
        command.args(["--connection-inactivity-timeout=60", url.as_ref()]);
        Self { command }
    }

    /// Any of h2load's own options.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Sends them and waits for the end.
    pub fn run(mut self) -> io::Result<Report> {
        let output = run(&mut self.command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::other(format!("no totals in h2load's output:\n{text}")))
    }
}

fn parse(text: &str) -> Option<Report> {
    let requests = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))?;
    let traffic = text
        .lines()
        .find_map(|line| line.strip_prefix("traffic: "))?;
    Some(Report {
        succeeded: number_before(requests, " succeeded")?,
        failed: number_before(requests, " failed")?,
        data: number_before(traffic, ") data")?,
    })
}

/// The digits that end where `mark` begins.
fn number_before(line: &str, mark: &str) -> Option<u64> {
    let before = &line[..line.find(mark)?];
    let digits = before
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + 1);
    before[digits..].parse().ok()
}
