//! Which lines and branches of the library's logic the fast tests reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

use crate::Result;
use crate::exceptions::{source_at, unexplained};
use crate::nginx;
use crate::packages;
use crate::project::{in_tests, logic, root, target};

/// Finds lines and branches of the logic that the fast tests do not reach
///
/// Which lines and branches of the library's logic the fast tests reach: the
/// unit tests and the differential harness. Every one has to be, but for those
/// that tests/exceptions/coverage.txt explains.
#[derive(Args)]
pub(crate) struct Options {}

const EXCEPTIONS: &str = "tests/exceptions/coverage.txt";

/// How the harness is run.
const HARNESS: &[&[&str]] = &[
    &["--count", "100000"],
    &["--torture", "--count", "300"],
    &["--features", "--count", "30000"],
    &["--crowds", "--count", "20000"],
    &[
        "--features",
        "--only",
        "memory",
        "--seed",
        "230477",
        "--count",
        "1",
    ],
    &[
        "--features",
        "--only",
        "together",
        "--seed",
        "39471",
        "--count",
        "1",
    ],
];

pub(crate) fn run(shell: &Shell) -> Result {
    packages::need(shell, &["coverage"])?;
    let folder = target().join("coverage");
    let shell = &instrumented(shell, &folder)?;
    let harness = folder.join("quick/pipe-differential");
    let unit_tests = measure(shell, &folder, &harness)?;

    let profile = folder.join("profile");
    let files = logic(shell)?;
    let llvm_cov = |what: &str| {
        cmd!(
            shell,
            "llvm-cov-22 {what} --instr-profile {profile} {harness} --object {unit_tests}"
        )
        .quiet()
        .args(["--sources"])
        .args(&files)
    };
    let summary = ["--show-branch-summary", "--show-region-summary=false"];
    llvm_cov("report").args(summary).run()?;
    let found = Missed::find(&llvm_cov)?.tell()?;

    fs::write(folder.join("found.txt"), found.join("\n"))?;
    let complaints = unexplained(&found, EXCEPTIONS)?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => {
            let found = found.len();
            println!("all lines and branches are covered but {found}, which are explained");
            Ok(())
        }
        count => Err(format!("{count} lines or branches are not as explained").into()),
    }
}

/// A shell in which cargo builds programs that count.
fn instrumented(shell: &Shell, folder: &Path) -> Result<Shell> {
    let shell = nginx::under_every_condition(shell)?;
    shell.set_var("CARGO_TARGET_DIR", folder);
    // Branch coverage is not stable yet; rustc's own LLVM is that of the tools.
    shell.set_var("RUSTC_BOOTSTRAP", "1");
    let flags = "-Cinstrument-coverage -Zcoverage-options=branch";
    shell.set_var("RUSTFLAGS", flags);
    shell.set_var("LLVM_PROFILE_FILE", folder.join("profiles/%p-%m.profraw"));
    Ok(shell)
}

/// Runs the tests, and puts together what they counted. Returns the program of the unit
/// tests.
fn measure(shell: &Shell, folder: &Path, harness: &Path) -> Result<PathBuf> {
    let profiles = folder.join("profiles");
    let quick = ["--quiet", "--profile", "quick"];
    let build = in_tests(shell, "build").args(quick);
    build.args(["--package", "pipe-differential"]).run()?;
    // Those of build scripts.
    shell.remove_path(&profiles)?;

    let unit_tests = build_unit_tests(shell)?;
    cmd!(shell, "{unit_tests}").quiet().ignore_stdout().run()?;
    for words in HARNESS {
        cmd!(shell, "{harness}").quiet().args(*words).run()?;
    }

    let mut raw = shell.read_dir(&profiles)?;
    raw.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "profraw")
    });
    let profile = folder.join("profile");
    cmd!(
        shell,
        "llvm-profdata-22 merge --sparse {raw...} --output {profile}"
    )
    .quiet()
    .run()?;
    Ok(unit_tests)
}

/// Builds the unit tests of the library. Returns their program.
fn build_unit_tests(shell: &Shell) -> Result<PathBuf> {
    let words = ["--quiet", "--no-run", "--message-format=json", "--lib"];
    let messages = cmd!(shell, "cargo test --package ngx-event-pipe {words...}");
    let programs = messages
        .quiet()
        .read()?
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .next_back();
    Ok(programs.ok_or("cargo names no program of the unit tests")?)
}

/// What cargo says of something that it has built, as far as it matters.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// What is not reached, by its place: a file, a line, a column.
#[derive(Debug, Default)]
struct Missed {
    places: BTreeSet<(String, usize, usize, &'static str)>,
}

impl Missed {
    /// Asks llvm-cov: for lines in the format lcov, which counts them, for
    /// branches in JSON, which has their columns.
    fn find<'a>(llvm_cov: &dyn Fn(&str) -> Cmd<'a>) -> Result<Self> {
        let mut missed = Self::default();
        let lines = llvm_cov("export").args(["--format", "lcov"]);
        missed.add_lines(&lines.read()?);
        let branches = llvm_cov("export").args(["--skip-expansions", "--skip-functions"]);
        missed.add_branches(&branches.read()?)?;
        Ok(missed)
    }

    /// `SF:FILE`, and then `DA:LINE,COUNT` for each line.
    fn add_lines(&mut self, lcov: &str) {
        let mut file = "";
        for line in lcov.lines() {
            match line.split_once(':') {
                Some(("SF", name)) => file = name,
                Some(("DA", numbers)) => {
                    if let Some((line, "0")) = numbers.split_once(',') {
                        self.add(file, line.parse().unwrap_or_default(), 1, "reached");
                    }
                }
                _ => (),
            }
        }
    }

    fn add_branches(&mut self, json: &str) -> Result {
        let report: Report = serde_json::from_str(json)?;
        for file in report.data.into_iter().flat_map(|data| data.files) {
            // A generic function's branch is there once for each type.
            let mut counts = BTreeMap::<_, (u64, u64)>::new();
            for [line, column, _, _, if_true, if_false, ..] in file.branches {
                let count = counts.entry((line, column)).or_default();
                count.0 += if_true;
                count.1 += if_false;
            }
            for ((line, column), (if_true, if_false)) in counts {
                let (line, column) = (line as usize, column as usize);
                if if_true == 0 {
                    self.add(&file.filename, line, column, "true");
                }
                if if_false == 0 {
                    self.add(&file.filename, line, column, "false");
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &str, line: usize, column: usize, what: &'static str) {
        self.places.insert((file.to_owned(), line, column, what));
    }

    /// Of a line: `FILE: never reached: SOURCE`; of a branch of which one way is
    /// never gone: `FILE: never true: SOURCE, from there on`. Brackets alone are
    /// no line.
    fn tell(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for (file, line, column, what) in &self.places {
            let file = Path::new(file).strip_prefix(root())?.display().to_string();
            if is_test(&file, *line)? {
                continue;
            }
            let source = source_at(&file, *line, *column)?;
            if source.contains(|letter: char| letter.is_ascii_lowercase()) {
                told.push(format!("{file}: never {what}: {source}"));
            }
        }
        told.sort();
        told.dedup();
        Ok(told)
    }
}

/// Whether the line is one of the unit tests, which are at the end of their file.
fn is_test(file: &str, line: usize) -> Result<bool> {
    let text = fs::read_to_string(root().join(file))?;
    let tests = text.lines().position(|line| line.ends_with("mod tests {"));
    Ok(tests.is_some_and(|first| line > first))
}

/// llvm-cov's JSON, as far as it matters.
#[derive(Deserialize)]
struct Report {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    /// From a line and column to a line and column; how often it was true and
    /// how often false; which file, expanded where, and of what kind.
    branches: Vec<[u64; 9]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_not_reached() {
        let mut missed = Missed::default();
        missed.add_lines("SF:/a.rs\nFN:1,f\nDA:1,5\nDA:2,0\nBRDA:2,0,0,0\nend_of_record\n");
        let places: Vec<_> = missed.places.into_iter().collect();
        assert_eq!(places, [("/a.rs".to_owned(), 2, 1, "reached")]);
    }

    #[test]
    fn branches_that_go_one_way() -> Result {
        let mut missed = Missed::default();
        missed.add_branches(
            r#"{"data": [{"files": [{"filename": "/a.rs", "branches": [
                [1, 4, 1, 9, 3, 0, 0, 0, 4], [1, 4, 1, 9, 0, 2, 0, 0, 4],
                [7, 8, 7, 9, 0, 2, 0, 0, 4]
            ]}]}], "type": "llvm.coverage.json.export", "version": "3.0.1"}"#,
        )?;
        let places: Vec<_> = missed.places.into_iter().collect();
        assert_eq!(places, [("/a.rs".to_owned(), 7, 8, "true")]);
        Ok(())
    }
}
