//! Where things are, and programs of the tests' workspace.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use xshell::{Cmd, Shell, cmd};

use crate::Result;

/// The manifest of the tests' workspace, as seen from the project's folder.
const TESTS: &str = "tests/Cargo.toml";

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.ancestors().nth(2).unwrap_or(xtask).to_path_buf()
}

/// Cargo's target directory, where everything generated goes.
pub(crate) fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(target)
}

/// A command of cargo in the tests' workspace.
pub(crate) fn in_tests<'a>(shell: &'a Shell, command: &str) -> Cmd<'a> {
    cmd!(shell, "cargo {command} --manifest-path {TESTS}").quiet()
}

/// Replaces this process by a program of the tests' workspace, with the words
/// that stand behind the name of xtask's command, in the folder that they are
/// meant for. Returns only if that fails.
pub(crate) fn become_program(folder: &Path, program: &[&str]) -> Result {
    // Where Debian keeps haproxy, and not everybody looks.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let error = Command::new("cargo")
        .arg("run")
        .arg("--manifest-path")
        .arg(root().join(TESTS))
        .arg("--target-dir")
        .arg(target())
        .args(program)
        .arg("--")
        .args(env::args_os().skip(2))
        .env("PATH", path)
        .current_dir(folder)
        .exec();
    Err(format!("cargo does not run: {error}").into())
}

/// The files that decide what the pipe does: those without unsafe code.
pub(crate) fn logic(shell: &Shell) -> Result<Vec<String>> {
    let mut logic = Vec::new();
    for folder in ["src", "src/extensions"] {
        for path in shell.read_dir(folder)? {
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if is_rust && fs::read_to_string(&path)?.contains("forbid(unsafe_code)") {
                logic.push(path.strip_prefix(root())?.display().to_string());
            }
        }
    }
    Ok(logic)
}

/// The target triple of this machine.
pub(crate) fn host(shell: &Shell) -> Result<String> {
    let version = cmd!(shell, "rustc -vV").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}

/// Says what is done next.
pub(crate) fn say(what: &str) {
    println!("\n== {what}");
}
