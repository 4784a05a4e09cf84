//! uWSGI with its Python plugin: one server that speaks FastCGI, SCGI and
//! uwsgi, and serves the files of one folder.

use std::fs::{self, File};
use std::io::{self, Error};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::{Process, command, start};
use crate::server::wait;

const APPLICATION: &str = include_str!("app.py");

/// The protocols it serves, each on a socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// FastCGI.
    FastCgi,
    /// SCGI.
    Scgi,
    /// uwsgi, its own.
    Uwsgi,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FastCgi, Self::Scgi, Self::Uwsgi];

    /// The name that nginx's directives and uwsgi's options begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::FastCgi => "fastcgi",
            Self::Scgi => "scgi",
            Self::Uwsgi => "uwsgi",
        }
    }
}

/// A running uWSGI; it ends when this is dropped.
#[derive(Debug)]
pub struct Uwsgi {
    process: Process,
    dir: PathBuf,
}

impl Uwsgi {
    /// Starts it in `dir`, which takes its sockets and its log, and lets it
    /// serve the files in `bodies`.
    pub fn start(dir: &Path, bodies: &Path) -> io::Result<Self> {
        let application = dir.join("app.py");
        fs::write(&application, APPLICATION)?;
        let log = File::create(dir.join("uwsgi.log"))?;

        let mut command = command("uwsgi");
        command
            .args(["--plugin", "python3", "--need-app", "--wsgi-file"])
            .arg(application)
            .args(["--master", "--no-orphans", "--die-on-term"])
            .args(["--processes", "2", "--threads", "4", "--listen", "100"])
            // A slow client is nginx's business: its upstream waits.
            .args(["--socket-timeout", "120", "--disable-logging"])
            .env("PIPE_TESTS_BODIES", bodies)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(log.try_clone()?)
            .stderr(log);
        for protocol in Protocol::ALL {
            command.arg(format!("--{}-socket", protocol.name()));
            command.arg(socket(dir, protocol));
        }

        let process = Process::new(start(&mut command, Command::spawn)?);
        let mut uwsgi = Self {
            process,
            dir: dir.to_owned(),
        };
        uwsgi.await_start()?;
        Ok(uwsgi)
    }

    /// The Unix socket that speaks `protocol`.
    pub fn socket(&self, protocol: Protocol) -> PathBuf {
        socket(&self.dir, protocol)
    }

    fn await_start(&mut self) -> io::Result<()> {
        let listens = |protocol| UnixStream::connect(socket(&self.dir, protocol)).is_ok();
        let started = wait(|| self.process.has_ended() || Protocol::ALL.into_iter().all(listens));
        if started && !self.process.has_ended() {
            return Ok(());
        }
        let said = fs::read_to_string(self.dir.join("uwsgi.log"))?;
        Err(Error::other(format!("uWSGI does not start: {said}")))
    }
}

fn socket(dir: &Path, protocol: Protocol) -> PathBuf {
    dir.join(protocol.name()).with_extension("sock")
}
