//! What the cells share: the programs, and the upstreams behind them.

use std::fs::{self, File};
use std::io::Result;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_tests::Binaries;
use pipe_tests::build::target;
use pipe_tests::peers::missing;
use pipe_tests::peers::openssl::Certificate;
use pipe_tests::server::Nginx;
use tempfile::TempDir;

use super::busy::{self, Busy};
use super::family::{Cell, FAMILIES, Family, Side, Way};
use super::fastcgi;
use super::front::BACKLOG;
use super::interrupt::Interrupt;
use super::machine::{Cores, version};
use super::server::Server;
use super::waiting;

/// Dropped from top to bottom: the files last.
#[derive(Debug)]
pub(crate) struct Stage {
    origin: Nginx,
    pub(crate) busy: Busy,
    binaries: Binaries,
    pub(crate) cores: Cores,
    pub(crate) certificate: Certificate,
    pub(crate) haproxy: Option<String>,
    pub(crate) interrupt: Interrupt,
    dir: TempDir,
}

/// What sends the responses of a cell.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// nginx's static files.
    Http(SocketAddr),
    FastCgi(Server),
}

impl Upstream {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Http(address) => *address,
            Self::FastCgi(server) => server.address(),
        }
    }
}

impl Stage {
    /// Starts the upstream that all share, on the cores of this process.
    pub(crate) fn set_up(binaries: Binaries, cores: Cores) -> Result<Self> {
        let dir = TempDir::with_prefix_in("bench-", target())?;
        let bodies = dir.path().join("bodies");
        create_bodies(&bodies)?;
        let haproxy = match missing(&["haproxy"]).is_empty() {
            true => Some(version(Command::new("haproxy").arg("-v"))?),
            false => None,
        };
        let origin = origin(&binaries.stock, &bodies)?;
        Ok(Self {
            busy: Busy::of(&origin),
            origin,
            certificate: Certificate::create(dir.path())?,
            binaries,
            cores,
            haproxy,
            interrupt: Interrupt::listen()?,
            dir,
        })
    }

    pub(crate) fn upstream(&self, cell: Cell) -> Result<Upstream> {
        Ok(match cell.family.way {
            Way::Proxy | Way::Cache => Upstream::Http(self.origin.address()),
            Way::FastCgi => Upstream::FastCgi(fastcgi::start(cell.size)?),
        })
    }

    /// The sides of this family that can be measured here.
    pub(crate) fn sides(&self, family: &Family) -> impl Iterator<Item = Side> {
        let runs = |side: &Side| side.is_nginx() || self.haproxy.is_some();
        family.sides.iter().copied().filter(runs)
    }

    /// The nginx of a side.
    pub(crate) fn nginx(&self, side: Side) -> &Path {
        match side {
            Side::Ours | Side::Unlent | Side::Unbounded | Side::Counted | Side::Zoned => {
                &self.binaries.ours
            }
            _ => &self.binaries.stock,
        }
    }

    /// A folder for files.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

/// Holes: nothing on the way looks at what is in a body.
fn create_bodies(dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    let cells = FAMILIES.iter().flat_map(|family| family.cells(false));
    for cell in cells.chain([waiting::BODY]) {
        File::create(dir.join(cell.body()))?.set_len(cell.size)?;
    }
    Ok(())
}

fn origin(binary: &Path, bodies: &Path) -> Result<Nginx> {
    Nginx::start(binary, |conf| {
        conf.log_level = "error";
        conf.events = format!("worker_connections {};", waiting::CONNECTIONS);
        conf.http = "
            sendfile on;
            tcp_nopush on;
            open_file_cache max=100;
            keepalive_timeout 1h;
            keepalive_requests 100000000;
        "
        .to_owned();
        conf.server = format!("root {};\n", bodies.display());
        busy::configure(conf);
        conf.listen(BACKLOG);
    })
}
