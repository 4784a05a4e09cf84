//! The copy under the known cases of `compare`: real nginx processes.

use xshell::{Shell, cmd};

use super::harness::Found;
use super::project::Project;
use crate::Result;

/// Looks for what is worse than on stock in a known case.
pub(crate) fn find(shell: &Shell, project: &Project, case: &str) -> Result<Option<Found>> {
    let shell = shell.clone();
    shell.change_dir(project.root());
    shell.set_var("CARGO_TARGET_DIR", project.target());
    let file = format!("tests/compare/known/{case}.case");
    let program = ["--package", "pipe-tests", "--bin", "compare"];
    let words = [
        "--quiet",
        "--release",
        "--manifest-path",
        "tests/Cargo.toml",
    ];
    let compare = cmd!(
        shell,
        "cargo run {words...} {program...} -- --replay {file}"
    );

    let output = compare.quiet().ignore_status().output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().find(|line| is_difference(line)) {
        Some(worse) => Ok(Some(Found::by_case(case, worse))),
        None => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// The other lines tell what either side did.
fn is_difference(line: &str) -> bool {
    !line.is_empty()
        && !["stock:", "ours:"]
            .iter()
            .any(|side| line.starts_with(side))
}
