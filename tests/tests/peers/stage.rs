//! What all tests share: the programs under test, and the upstreams.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_tests::build::Pipe;
use pipe_tests::peers;
use pipe_tests::peers::openssl::Certificate;
use pipe_tests::peers::uwsgi::{Protocol, Uwsgi};
use pipe_tests::server::Nginx;
use pipe_tests::{Binaries, binaries};
use tempfile::TempDir;

use super::bodies::Bodies;

/// What must be installed.
const PROGRAMS: [&str; 4] = ["curl", "h2load", "openssl", "uwsgi"];

/// Dropped from top to bottom: the upstreams first, their files last.
#[derive(Debug)]
pub(crate) struct Stage {
    _origin: Nginx,
    uwsgi: Uwsgi,
    stock: Program,
    ours: Program,
    certificate: Certificate,
    bodies: Bodies,
    dir: TempDir,
}

impl Stage {
    /// Builds what is to be tested and starts the upstreams.
    pub(crate) fn set_up() -> Result<Self> {
        let missing = peers::missing(&PROGRAMS);
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let message = format!("not installed: {missing} (tests/run installs them)");
            return Err(Error::other(message));
        }
        let dir = TempDir::with_prefix("pipe-peers-")?;
        let Binaries { stock, ours } = binaries()?;
        let (stock, ours) = (Program::at(stock)?, Program::at(ours)?);
        let bodies = Bodies::create(dir.path().join("bodies"))?;
        let certificate = Certificate::create(dir.path())?;
        let uwsgi = Uwsgi::start(dir.path(), bodies.dir())?;
        let origin = Nginx::start(&stock.path, |conf| {
            conf.http = origin(&stock, dir.path(), bodies.dir(), &certificate);
        })?;
        Ok(Self {
            _origin: origin,
            uwsgi,
            stock,
            ours,
            certificate,
            bodies,
            dir,
        })
    }

    pub(crate) fn program(&self, pipe: Pipe) -> &Program {
        match pipe {
            Pipe::Stock => &self.stock,
            Pipe::Rust => &self.ours,
        }
    }

    pub(crate) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn origin(&self, server: OriginServer) -> PathBuf {
        server.socket(self.dir.path())
    }

    pub(crate) fn uwsgi(&self, protocol: Protocol) -> PathBuf {
        self.uwsgi.socket(protocol)
    }
}

/// The servers of the nginx that is an upstream, each on a socket of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OriginServer {
    Plain,
    Tls,
    Http2,
    Http2Tls,
}

impl OriginServer {
    const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::Http2, Self::Http2Tls];

    fn socket(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self:?}.sock"))
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Http2Tls)
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }
}

/// The `http` block of the nginx that is an upstream.
fn origin(program: &Program, dir: &Path, bodies: &Path, certificate: &Certificate) -> String {
    let bodies = bodies.display();
    let keys = certificate.directives();
    let servers = OriginServer::ALL.map(|server| {
        let socket = server.socket(dir);
        let socket = socket.display();
        let ssl = if server.is_tls() { "ssl" } else { "" };
        let (parameter, directive) = match server.is_http2() {
            true => program.http2(),
            false => ("", ""),
        };
        format!(
            "server {{
                listen unix:{socket} {ssl} {parameter};
                {directive}
                {keys}
                root {bodies};

                # Filters that may change the length leave it out.
                location /unsized/ {{ alias {bodies}/; ssi on; ssi_types *; }}
                location /gzipped/ {{
                    alias {bodies}/;
                    gzip on;
                    gzip_types *;
                    gzip_http_version 1.0;
                }}
            }}\n"
        )
    });
    servers.concat()
}

/// An nginx to run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    version: [u32; 3],
    arguments: String,
}

impl Program {
    fn at(path: PathBuf) -> Result<Self> {
        let output = Command::new(&path).arg("-V").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = version(&said).ok_or_else(|| Error::other(format!("no version: {said}")))?;
        Ok(Self {
            path,
            version,
            arguments: said,
        })
    }

    /// Whether it was configured with that argument.
    pub(crate) fn has(&self, argument: &str) -> bool {
        self.arguments
            .split_whitespace()
            .any(|word| word == argument)
    }

    /// Whether it has `proxy_http_version 2`.
    pub(crate) fn speaks_http2_to_upstreams(&self) -> bool {
        self.version >= [1, 29, 4]
    }

    /// How a server comes to speak HTTP/2: a parameter of `listen`, and a
    /// directive.
    pub(crate) fn http2(&self) -> (&'static str, &'static str) {
        match self.version < [1, 25, 1] {
            true => ("http2", ""),
            false => ("", "http2 on;"),
        }
    }
}

/// Reads `nginx version: nginx/1.28.3`.
fn version(said: &str) -> Option<[u32; 3]> {
    let (_, rest) = said.lines().next()?.split_once('/')?;
    let number = rest.split_whitespace().next()?;
    let parts: Option<Vec<u32>> = number.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}
