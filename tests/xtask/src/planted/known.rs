//! The copy under the known cases of `compare`: real nginx processes.

use xshell::Shell;

use super::harness::{Found, text};
use super::project::Project;
use crate::Result;
use crate::project::in_tests;

/// Looks for what is worse than on stock in a known case.
pub(crate) fn find(shell: &Shell, project: &Project, case: &str) -> Result<Option<Found>> {
    let copy = project.shell(shell);
    let compare = in_tests(&copy, "run")
        .args(["--quiet", "--release", "--package", "pipe-tests"])
        .args(["--bin", "compare", "--", "--replay"])
        .arg(format!("tests/compare/known/{case}.case"))
        // An nginx that is named there has no fault.
        .env_remove("NGX_OURS");

    let output = compare.ignore_status().output()?;
    if output.status.success() {
        return Ok(None);
    }
    match text(&output.stdout)
        .lines()
        .find(|line| is_difference(line))
    {
        Some(worse) => Ok(Some(Found::by_case(case, worse))),
        None => Err(text(&output.stderr).into()),
    }
}

/// The other lines tell what either side did.
fn is_difference(line: &str) -> bool {
    !line.is_empty()
        && !["stock:", "ours:"]
            .iter()
            .any(|side| line.starts_with(side))
}
