//! Running other people's programs: none of them outlives the tests.

use std::io::{self, Error};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::process::die_with_parent;
use crate::server::wait;

/// A command for a process that reads nothing and ends with the thread that
/// started it, so that a crash of the tests leaves nothing behind.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    die_with_parent(&mut command, libc::SIGTERM);
    command
}

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> io::Result<Output> {
    let output = start(command, Command::output)?;
    finish(command, output)
}

/// Makes an exit status other than 0 an error that says what the program said.
pub(super) fn finish(command: &Command, output: Output) -> io::Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let (said, status) = (said.trim(), output.status);
    Err(Error::other(format!("{said} ({status} of {command:?})")))
}

/// Starts `command` by `how`; an error names the program, as io::Error doesn't.
pub fn start<T>(
    command: &mut Command,
    how: impl FnOnce(&mut Command) -> io::Result<T>,
) -> io::Result<T> {
    how(command).map_err(|error| {
        let program = Path::new(command.get_program()).display();
        Error::new(error.kind(), format!("{program}: {error}"))
    })
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Of a child that has not been waited for.
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // SAFETY: kill takes two numbers, and the child has not been waited
        // for, so the id is still its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        if !wait(|| self.has_ended()) {
            // Whatever these two return, there is nothing more to do.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Which of `programs` are not on the search path.
pub fn missing<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    programs
        .iter()
        .filter(|name| !installed(name))
        .copied()
        .collect()
}
