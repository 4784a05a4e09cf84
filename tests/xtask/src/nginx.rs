//! nginx, built with this pipe, and the build conditions that it leaves behind
//! for cargo.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::Shell;

use crate::Result;
use crate::project::{in_tests, root};

/// The variable with the file of nginx's compiler command, which the library
/// and the harness are built with.
pub(crate) const COMPILER: &str = "NGX_EVENT_PIPE_COMPILER";

/// Builds the tests' nginx, with more options for its configure, and returns the
/// program.
pub(crate) fn build(shell: &Shell, options: &[&str]) -> Result<PathBuf> {
    let build =
        in_tests(shell, "run").args(["--quiet", "--package", "pipe-tests", "--bin", "nginx"]);
    Ok(build.arg("--").args(options).read()?.into())
}

/// The compiler command of an nginx with this pipe.
pub(crate) fn compiler(nginx: &Path) -> PathBuf {
    nginx.with_file_name("ngx_event_pipe_rust/compiler.txt")
}

/// A compiler command with all of nginx's build conditions, so that no code of
/// the pipe is left out. Builds nginx.
pub(crate) fn every_condition(shell: &Shell) -> Result<PathBuf> {
    let compiler = compiler(&build(shell, &[])?);
    let every = compiler.with_file_name("every-condition.txt");
    // Debug, threads and TLS it has. Where the file is there it stays as it is,
    // or cargo would build all anew.
    if !every.exists() {
        let kqueue = root().join("tests/differential/kqueue.h");
        let words = fs::read_to_string(compiler)?;
        fs::write(&every, format!("{words}-include\n{}\n", kqueue.display()))?;
    }
    Ok(every)
}

/// A shell in which cargo builds under all of nginx's build conditions. Builds
/// nginx.
pub(crate) fn under_every_condition(shell: &Shell) -> Result<Shell> {
    let every = every_condition(shell)?;
    let shell = shell.clone();
    shell.set_var(COMPILER, every);
    Ok(shell)
}
