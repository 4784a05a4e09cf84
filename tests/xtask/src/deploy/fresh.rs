//! What a fresh user sees: the commands of the README, on a system with nothing
//! but a shell and the distribution's Rust.

use std::fs;

use clap::Args;
use xshell::{Shell, cmd};

use super::chroot::Chroot;
use crate::Result;
use crate::packages;
use crate::project::say;

/// Runs a command of the README in a fresh Debian with its own Rust
///
/// Makes a chroot of a release of Debian with nothing but a shell, installs Rust as
/// the distribution packages it, and runs tests/demo there, or tests/run with
/// --tests, which takes as long as it does everywhere. As root.
#[derive(Args)]
pub(crate) struct Options {
    /// Such as bookworm or trixie
    suite: String,
    /// Run all tests instead of the demonstration
    #[arg(long)]
    tests: bool,
}

/// What the README asks for, no more; Debian 12 has a new Rust under another name.
pub(super) const RUST: &str = "
    apt-get -q update
    rust='cargo rustc'
    ! apt-cache policy cargo | grep -q 'Candidate: 0' || rust='cargo-web rustc-web'
    apt-get -qy install --no-install-recommends ca-certificates $rust";

pub(crate) fn run(shell: &Shell, options: &Options) -> Result {
    packages::need(shell, &["release", "packages"])?;
    let base = Chroot::base(shell, &options.suite)?;
    let user = base.copy(shell, &format!("{}-fresh", options.suite))?;
    user.quietly(shell, RUST)?;
    // The machine's certificates: its way to the crates may be its own.
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    fs::copy(format!("/{certificates}"), user.root.join(certificates))?;

    let project = user.root.join("ngx-event-pipe");
    fs::create_dir_all(&project)?;
    let copy = "git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C \"$1\"";
    cmd!(shell, "sh -ec {copy} sh {project}").quiet().run()?;

    let command = if options.tests {
        "tests/run"
    } else {
        "tests/demo"
    };
    say(&format!("{command} in a fresh {}", options.suite));
    let script = format!("cd /ngx-event-pipe; rustc --version; {command}");
    Ok(user.script(shell, &script).run()?)
}
