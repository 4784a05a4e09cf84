//! The tests under memory checkers.

use clap::Args;
use xshell::{Cmd, Shell, cmd};

use crate::Result;
use crate::nginx;
use crate::packages;
use crate::project::{host, in_tests, say, target};

/// Runs tests under memory checkers
///
/// The tests with real nginx processes once more, under memory checkers: built
/// with the address and the undefined behaviour sanitizer, our library included,
/// or run by valgrind. A report fails the run and is shown.
#[derive(Args)]
pub(crate) struct Options {
    /// The differential harness, with both pipes and all of nginx that they run
    /// on, instead of nginx: under AddressSanitizer; nginx's code under
    /// UndefinedBehaviorSanitizer as well, Rust's with every check of a debug
    /// build
    #[arg(long, conflicts_with = "valgrind")]
    harness: bool,
    /// A part of it. Of nginx: a part of the traffic, no peers, nothing of what
    /// this pipe does beyond nginx
    #[arg(long)]
    quick: bool,
    /// A smaller part, by valgrind, which is slow
    #[arg(long, conflicts_with = "quick")]
    valgrind: bool,
}

impl Options {
    pub(crate) const QUICK: Self = Self {
        harness: false,
        quick: true,
        valgrind: false,
    };
    pub(crate) const QUICK_HARNESS: Self = Self {
        harness: true,
        ..Self::QUICK
    };
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    match options.harness {
        true => harness(shell, options.quick),
        false => processes(shell, options),
    }
}

/// Faults that must be reported come first: without that, silence means nothing.
const TESTS: &[&str] = &["checkers", "defects", "traffic"];
const MORE_TESTS: &[&str] = &["peers", "spill", "visibility", "time"];

fn processes(shell: &Shell, options: &Options) -> Result {
    let checker = if options.valgrind {
        "valgrind"
    } else {
        "sanitizers"
    };
    let lists: &[_] = if options.valgrind {
        &["sanitize", "valgrind"]
    } else {
        &["sanitize"]
    };
    packages::need(shell, lists)?;

    let shell = shell.clone();
    shell.set_var("PIPE_CHECKER", checker);
    let mut tests = TESTS.to_vec();
    match (options.quick, options.valgrind) {
        (true, _) => part(&shell, 5, 25),
        (_, true) => part(&shell, 10, 10),
        _ => tests.extend(MORE_TESTS),
    }
    for test in tests {
        say(&format!("{test}, under {checker}"));
        // The others preload a library, and the sanitizer wants to be first.
        let only: &[_] = if test == "time" {
            &["stream::", "timeouts::"]
        } else {
            &[]
        };
        let run = in_tests(&shell, "test").args(["--package", "pipe-tests", "--test", test]);
        run.args(["--", "--quiet"]).args(only).run()?;
    }
    Ok(())
}

/// Of the traffic, only every so many cases written by hand, and so many drawn
/// at random.
pub(crate) fn part(shell: &Shell, sample: u32, cases: u32) {
    shell.set_var("PIPE_SAMPLE", sample.to_string());
    shell.set_var("PIPE_CASES", cases.to_string());
}

/// Each allocation from a pool is one of its own, and what a pool frees is
/// freed. Without the last flag, the sanitizer's list of globals would keep
/// functions whose callees the harness has not.
const C_FLAGS: &str = "-DNGX_DEBUG_PALLOC=1 -fno-omit-frame-pointer \
    -fsanitize=address,undefined -fno-sanitize-recover=undefined \
    -fsanitize-address-globals-dead-stripping";

const RUST_FLAGS: &str = "-Zsanitizer=address -Cforce-frame-pointers=yes";

fn harness(shell: &Shell, quick: bool) -> Result {
    packages::need(shell, &["fuzz"])?;
    let shell = &nginx::under_every_condition(shell)?;
    shell.set_var("ASAN_OPTIONS", "detect_stack_use_after_return=1");
    shell.set_var("UBSAN_OPTIONS", "print_stacktrace=1");

    let (host, target) = (host(shell)?, target().join("sanitize-harness"));
    // With a target given, flags are not for build scripts. -Z wants either a
    // nightly compiler or this variable.
    in_tests(shell, "build")
        .args([
            "--quiet",
            "--package",
            "pipe-differential",
            "--target",
            &host,
        ])
        .arg("--target-dir")
        .arg(&target)
        .env("PIPE_DIFFERENTIAL_CC", "clang")
        .env("PIPE_DIFFERENTIAL_CFLAGS", C_FLAGS)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", RUST_FLAGS)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .run()?;

    let program = target.join(host).join("debug/pipe-differential");
    let harness =
        |words: &[&str], count: &str| cmd!(shell, "{program} {words...} --count {count}").quiet();
    let (schedules, torture, deviations) = match quick {
        true => ("30000", "50", "30000"),
        false => ("300000", "1000", "100000"),
    };
    harness(&[], schedules).run()?;
    harness(&["--torture"], torture).run()?;
    harness(&["--deviations", "--only", "full-header"], deviations).run()?;
    harness(&["--deviations", "--only", "unsent-rest"], deviations).run()?;
    harness(&["--features"], deviations).run()?;
    harness(&["--crowds"], deviations).run()?;

    // Few schedules come to nginx's use after free, and the first one ends the
    // run; from this seed on, it does not take long.
    let words = ["--deviations", "--only", "taken-back", "--seed", "100000"];
    expect_use_after_free(harness(&words, "500000"))?;
    println!("sanitizers: no report but of nginx's known use after free");
    Ok(())
}

/// The third defect is a use after free, in nginx's pipe before 1.30.6. So the
/// sanitizer has to report it where it is left alone, and nothing else: a proof
/// that it looks.
fn expect_use_after_free(harness: Cmd<'_>) -> Result {
    let output = harness.ignore_status().output()?;
    let report = [output.stdout, output.stderr].concat();
    let report = String::from_utf8_lossy(&report);
    if output.status.success() {
        print!("{report}");
        return match report.contains("breaks an invariant in 0,") {
            true => Ok(()),
            false => Err("the sanitizer has overlooked nginx's use after free".into()),
        };
    }
    if !is_known(&report) {
        return Err(format!("{report}\nthis is not nginx's use after free").into());
    }
    println!("taken-back   nginx's use after free is reported, as it should be");
    Ok(())
}

/// Whether a report is that of nginx's pipe: these words, in this order.
fn is_known(report: &str) -> bool {
    const WORDS: &[&str] = &[
        "ERROR: AddressSanitizer: heap-use-after-free",
        "freed by",
        " in stock_ngx_event_pipe ",
    ];
    let rest = WORDS.iter().try_fold(report, |rest, words| {
        let (_, rest) = rest.split_once(words)?;
        Some(rest)
    });
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nginx_may_use_after_free() {
        let by = |frames: &str| {
            format!("==1==ERROR: AddressSanitizer: heap-use-after-free on address\n{frames}")
        };
        assert!(is_known(&by(
            "freed by thread T0:\n #1 in stock_ngx_event_pipe src/\n"
        )));
        assert!(!is_known(&by(
            "freed by thread T0:\n #1 in ngx_event_pipe src/\n"
        )));
        assert!(!is_known(&by(
            "in stock_ngx_event_pipe \nfreed by thread T0:\n"
        )));
    }
}
