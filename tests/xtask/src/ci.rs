//! What a change has to pass: formatting and lints, the tests, the versions and
//! build conditions that the tests' nginx has not, and the short forms of the
//! proofs that take long.

use std::path::Path;

use xshell::{Shell, cmd};

use crate::nginx::{self, COMPILER};
use crate::project::{in_tests, say};
use crate::{Result, coverage, fuzz, planted, sanitize, source, test};

/// What makes a warning of clippy an error.
const DENY: &[&str] = &["--all-targets", "--", "-D", "warnings"];

/// With threads alone, and the layout that dynamic modules need.
const COMPAT: &[&str] = &[
    "--plain",
    "--with-threads",
    "--with-compat",
    "--with-http_ssl_module",
];

/// Enough of the planted faults to see that they are found.
const PLANTED: &[&str] = &["shadow", "both sides", "not compared"];

pub(crate) fn run(shell: &Shell) -> Result {
    say("formatting");
    cmd!(shell, "cargo fmt --check").quiet().run()?;
    in_tests(shell, "fmt").args(["--all", "--check"]).run()?;
    cmd!(shell, "cargo fmt --check --manifest-path fuzz/Cargo.toml")
        .quiet()
        .run()?;

    // Installs what the rest needs, too.
    test::run(shell, &test::Options::ALL)?;

    say("lints of the tests and of the benchmark");
    let packages = ["pipe-tests", "pipe-benches", "pipe-options", "xtask"];
    let packages = packages.map(|name| format!("--package={name}"));
    in_tests(shell, "clippy")
        .arg("--quiet")
        .args(packages)
        .args(DENY)
        .run()?;

    say("the benchmark works; its figures do not matter here");
    benchmark(shell)?;

    say("as for kqueue");
    library(shell, &nginx::every_condition(shell)?)?;

    versions(shell)?;

    say("some of the planted faults");
    planted::run(shell, &planted::Options::of(PLANTED))?;

    say("coverage");
    coverage::run(shell)?;

    say("sanitizers");
    sanitize::run(shell, &sanitize::Options::QUICK_HARNESS)?;
    sanitize::run(shell, &sanitize::Options::QUICK)?;

    say("fuzzing");
    fuzz::run(shell, &fuzz::Options::SMOKE)
}

fn benchmark(shell: &Shell) -> Result {
    let package = ["--quiet", "--package", "pipe-benches"];
    in_tests(shell, "test").args(package).run()?;
    crate::packages::need(shell, &["bench"])?;
    let cells = ["--only", "plain/4k", "--only", "http2-tls/4k"];
    let bench = in_tests(shell, "run").args(package);
    bench.args(["--", "--quick"]).args(cells).run()?;
    Ok(())
}

/// Lints, unit tests and the same schedules under one nginx's build conditions.
fn library(shell: &Shell, compiler: &Path) -> Result {
    let shell = shell.clone();
    shell.set_var(COMPILER, compiler);
    let harness = ["--quiet", "--package", "pipe-differential"];
    cmd!(
        shell,
        "cargo clippy --quiet --package ngx-event-pipe {DENY...}"
    )
    .quiet()
    .run()?;
    in_tests(&shell, "clippy").args(harness).args(DENY).run()?;
    cmd!(shell, "cargo test --quiet --package ngx-event-pipe")
        .quiet()
        .run()?;
    let run = in_tests(&shell, "run").args(harness);
    run.args(["--profile", "quick", "--", "--count", "100000"])
        .run()?;
    Ok(())
}

/// The tests' own nginx has debug and threads; one without either, and one with
/// threads alone. Of two other versions one each.
fn versions(shell: &Shell) -> Result {
    say("the nginx-src crate");
    for options in [&[], &["--plain"][..], COMPAT] {
        library_of(shell, options)?;
    }

    let bookworm = shell.clone();
    bookworm.set_var("NGINX_SOURCE", source::fetch(shell, "bookworm")?);
    say(&bookworm.var("NGINX_SOURCE")?);
    library_of(&bookworm, &[])?;

    // A mirror may lack a tarball; of the newer two versions one will do.
    match source::fetch(shell, "trixie") {
        Ok(source) => {
            let trixie = shell.clone();
            trixie.set_var("NGINX_SOURCE", source);
            say(&trixie.var("NGINX_SOURCE")?);
            library_of(&trixie, COMPAT)?;
        }
        Err(error) => say(&format!("skipped: {error}")),
    }

    say("traffic through the oldest version, and torture");
    sanitize::part(&bookworm, 5, 25);
    let tests = ["traffic", "defects", "torture"].map(|test| format!("--test={test}"));
    let run = in_tests(&bookworm, "test").args(["--package", "pipe-tests"]);
    run.args(tests).args(["--", "--quiet"]).run()?;
    Ok(())
}

/// Builds nginx with these options of configure, and does the same for it.
fn library_of(shell: &Shell, options: &[&str]) -> Result {
    library(shell, &nginx::compiler(&nginx::build(shell, options)?))
}
