//! libFuzzer makes the schedules, guided by the coverage of both pipes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use clap::Args;
use xshell::{Cmd, Shell, cmd};

use crate::Result;
use crate::nginx;
use crate::packages;
use crate::project::{host, root};

/// Looks for schedules on which nginx's pipe and this one part, by libFuzzer
///
/// Looks for schedules on which nginx's pipe and this one part: libFuzzer, guided
/// by the coverage of both, under AddressSanitizer. Where the pipes part, the
/// report has the words to replay it.
#[derive(Args)]
pub(crate) struct Options {
    /// Search for so long, from the kept corpus and earlier finds on
    #[arg(default_value_t = 300)]
    seconds: u64,
    /// Run the kept corpus, and search shortly
    #[arg(long, conflicts_with_all = ["keep", "seconds"])]
    pub(crate) smoke: bool,
    /// Make what searches have found the kept corpus: the fewest files that
    /// cover the same
    #[arg(long, conflicts_with = "seconds")]
    keep: bool,
}

impl Options {
    pub(crate) const SMOKE: Self = Self {
        seconds: 0,
        smoke: true,
        keep: false,
    };
}

/// Comparisons are not traced: a byte becomes a decision by its remainder, so
/// what some code compares with is no word to put there.
const RUST_FLAGS: &str = "-Zsanitizer=address -Cforce-frame-pointers=yes \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";

/// The same for C. Without the last flag, the sanitizer's list of globals would
/// keep functions whose callees the harness has not.
const C_FLAGS: &str = "-DNGX_DEBUG_PALLOC=1 -fno-omit-frame-pointer \
    -fsanitize=address -fsanitize-coverage=inline-8bit-counters,pc-table \
    -fsanitize-address-globals-dead-stripping";

/// A byte is a decision, and a seed goes on where the bytes end: few will do.
const BYTES: &[&str] = &["-max_len=128", "-len_control=0", "-print_final_stats=1"];

/// Allocations are many: a report tells less of where each was.
const SANITIZER: &str = "detect_leaks=0:malloc_context_size=4:quarantine_size_mb=16";

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["fuzz"])?;
    let shell = &nginx::under_every_condition(shell)?;
    let fuzzer = Fuzzer::build(shell)?;
    let scratch = shell.create_temp_dir()?;
    let (kept, found) = (&fuzzer.kept, &fuzzer.found);
    if options.keep {
        return fuzzer.keep(scratch.path());
    }
    if options.smoke {
        // From one seed and nothing found before: nearly the same each time.
        return fuzzer.search(&["-runs=20000", "-seed=1"], &[scratch.path(), kept]);
    }
    let time = format!("-max_total_time={}", options.seconds);
    fuzzer.search(&[&time], &[found, kept])
}

/// The built program and its folders.
struct Fuzzer<'a> {
    shell: &'a Shell,
    program: PathBuf,
    kept: PathBuf,
    found: PathBuf,
    artifacts: PathBuf,
}

impl<'a> Fuzzer<'a> {
    /// Does what cargo-fuzz does, but with a stable compiler, and the same for C.
    fn build(shell: &'a Shell) -> Result<Self> {
        let (fuzz, host) = (root().join("fuzz"), host(shell)?);
        let target = fuzz.join("target");
        cmd!(
            shell,
            "cargo build --quiet --release --manifest-path fuzz/Cargo.toml"
        )
        .args(["--target", &host, "--target-dir"])
        .arg(&target)
        .env("PIPE_DIFFERENTIAL_CC", "clang")
        .env("PIPE_DIFFERENTIAL_CFLAGS", C_FLAGS)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUST_FLAGS)
        .quiet()
        .run()?;

        let fuzzer = Self {
            shell,
            program: target.join(host).join("release/schedules"),
            kept: fuzz.join("corpus/schedules"),
            found: target.join("corpus"),
            artifacts: fuzz.join("artifacts/schedules"),
        };
        for folder in [&fuzzer.kept, &fuzzer.found, &fuzzer.artifacts] {
            fs::create_dir_all(folder)?;
        }
        Ok(fuzzer)
    }

    fn command(&self) -> Cmd<'a> {
        let (program, artifacts) = (&self.program, &self.artifacts);
        let command = cmd!(self.shell, "{program} -artifact_prefix={artifacts}/");
        command.args(BYTES).env("ASAN_OPTIONS", SANITIZER).quiet()
    }

    /// Looks for more in these folders: what is found goes to the first.
    fn search(&self, options: &[&str], corpora: &[&Path]) -> Result {
        let log = checked(self.command().args(options).args(corpora))?;
        let (runs, edges) = statistics(&log);
        println!("fuzz: {runs} schedules identical, {edges} edges of the code covered");
        Ok(())
    }

    /// Replaces what is kept by the fewest files that cover the same.
    fn keep(&self, scratch: &Path) -> Result {
        let merge = self.command().arg("-set_cover_merge=1").arg(scratch);
        checked(merge.arg(&self.found).arg(&self.kept))?;
        self.shell.remove_path(&self.kept)?;
        fs::create_dir_all(&self.kept)?;
        let mut bytes = 0;
        let fewest = self.shell.read_dir(scratch)?;
        for file in &fewest {
            bytes += fs::metadata(file)?.len();
            self.shell.copy_file(file, &self.kept)?;
        }
        println!("fuzz: {} files kept, {bytes} bytes", fewest.len());
        Ok(())
    }
}

/// Runs the fuzzer and returns its log.
fn checked(command: Cmd<'_>) -> Result<String> {
    let Output { status, stderr, .. } = command.ignore_status().output()?;
    let log = String::from_utf8_lossy(&stderr).into_owned();
    if status.success() {
        return Ok(log);
    }
    for line in log.lines().filter(|line| !line.starts_with('#')) {
        eprintln!("{line}");
    }
    Err("the fuzzer has found something: see above".into())
}

/// How many schedules were run, and how many edges of the code were covered.
fn statistics(log: &str) -> (u64, u64) {
    let (mut runs, mut edges) = (0, 0);
    for line in log.lines() {
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            runs = number.trim().parse().unwrap_or(runs);
        }
        let number = line
            .split_once("cov: ")
            .and_then(|(_, rest)| rest.split(' ').next());
        edges = number
            .and_then(|number| number.parse().ok())
            .unwrap_or(edges);
    }
    (runs, edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read() {
        let log = "\
#373    INITED cov: 812 ft: 5092 corp: 350/20Kb exec/s: 0 rss: 61Mb
#400    NEW    cov: 813 ft: 5093 corp: 351/20Kb
Done 20000 runs in 40 second(s)
stat::number_of_executed_units: 20000
stat::average_exec_per_sec:     500
";
        assert_eq!(statistics(log), (20000, 813));
    }
}
