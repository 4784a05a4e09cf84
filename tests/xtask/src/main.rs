//! `cargo xtask`: all that is done with this project but building it. Each
//! command installs the Debian packages that it needs.

mod ci;
mod coverage;
mod deploy;
mod exceptions;
mod fuzz;
mod mutants;
mod nginx;
mod packages;
mod planted;
mod project;
mod sanitize;
mod source;
mod test;
mod upstream;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use xshell::Shell;

/// Shorthand for everything here that can fail.
type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Demonstrates, tests and measures the pipe, and puts its tests to the test
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    after_help = "\
NGINX_SOURCE names the nginx tree to build, instead of the nginx-src crate's.
docs/testing.md has the rest of the environment, and what each command shows."
)]
enum Command {
    Demo(pipe_options::Demo),
    Test(test::Options),
    Harness(test::Harness),
    Coverage(coverage::Options),
    Mutants(mutants::Options),
    Planted(planted::Options),
    Fuzz(fuzz::Options),
    Sanitize(sanitize::Options),
    Suite(pipe_options::Suite),
    Source(source::Options),
    Upstream(upstream::Options),
    Release(deploy::release::Options),
    Packages(deploy::debian::Options),
    Architectures(deploy::architectures::Options),
    Containers(deploy::containers::Options),
    Fresh(deploy::fresh::Options),
    Compare(pipe_options::Compare),
    Bench(pipe_options::Bench),
    /// Does all that a change has to pass
    Ci,
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result {
    let shell = &Shell::new()?;
    let here = shell.current_dir();
    shell.change_dir(project::root());
    match command {
        Command::Demo(_) => {
            packages::need(shell, &["demo"])?;
            // Its first build takes minutes: cargo shows how it goes.
            project::become_program(&here, &["--package", "pipe-tests", "--bin", "demo"])
        }
        Command::Test(options) => test::run(shell, options),
        Command::Harness(options) => test::harness(shell, options),
        Command::Coverage(_) => coverage::run(shell),
        Command::Mutants(options) => mutants::run(shell, options),
        Command::Planted(options) => planted::run(shell, options),
        Command::Fuzz(options) => fuzz::run(shell, options),
        Command::Sanitize(options) => sanitize::run(shell, options),
        Command::Suite(options) => {
            let runs = options.clone || shell.var("NGINX_TESTS").is_ok();
            packages::need(shell, if runs { &["suite"] } else { &[] })?;
            project::become_program(
                &here,
                &["--quiet", "--package", "pipe-tests", "--bin", "suite"],
            )
        }
        Command::Source(options) => source::run(shell, options),
        Command::Upstream(options) => upstream::run(shell, options, &here),
        Command::Release(options) => deploy::release::run(shell, options),
        Command::Architectures(options) => deploy::architectures::run(shell, options),
        Command::Containers(options) => deploy::containers::run(shell, options),
        Command::Fresh(options) => deploy::fresh::run(shell, options),
        Command::Packages(options) => deploy::debian::run(shell, options, &here),
        Command::Compare(_) => {
            packages::need(shell, &["test"])?;
            let program = ["--package", "pipe-tests", "--bin", "compare"];
            project::become_program(&here, &[&["--quiet", "--release"], &program[..]].concat())
        }
        Command::Bench(options) => {
            let profile = if options.profile { "profile" } else { "bench" };
            packages::need(shell, &["bench", profile])?;
            project::become_program(&here, &["--quiet", "--package", "pipe-benches"])
        }
        Command::Ci => ci::run(shell),
    }
}
