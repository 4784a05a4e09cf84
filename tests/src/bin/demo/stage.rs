//! What the demonstration runs: nginx with the Rust pipe, and two upstreams
//! behind it.

use std::fs::{self, File};
use std::io::{self, Error, Read, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pipe_tests::peers::uwsgi::{Protocol, Uwsgi};
use pipe_tests::server::{Nginx, wait};
use tempfile::TempDir;

/// A body of some hundred buffers.
pub(crate) const BODY: &str = "body";

/// A body too large for all the buffers on the way to a client that waits.
pub(crate) const LARGE_BODY: &str = "large-body";

const BODIES: [(&str, u64); 2] = [(BODY, 3_000_017), (LARGE_BODY, 20_000_003)];

const FRONT: &str = "proxy_cache_path cache keys_zone=demo:1m;";

/// nginx, and what is behind it.
pub(crate) type Stage = pipe_tests::Stage<Upstreams>;

/// Dropped from top to bottom: the files last.
#[derive(Debug)]
pub(crate) struct Upstreams {
    _origin: Nginx,
    origin_socket: PathBuf,
    uwsgi: Uwsgi,
    bodies: PathBuf,
    _dir: TempDir,
}

/// What the demonstration needs to know of a [`Stage`] that stands.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
    bodies: PathBuf,
}

/// Starts the nginx at `binary` and the upstreams.
pub(crate) fn start(binary: &Path) -> Result<Stage> {
    Stage::before(Upstreams::start(binary)?, binary, |conf, upstreams| {
        // Enough to tell which pipe runs, and of responses that spill.
        conf.log_level = "notice";
        conf.http = FRONT.to_owned();
        conf.server = locations(
            &upstreams.origin_socket,
            &upstreams.uwsgi.socket(Protocol::FastCgi),
        );
        conf.listen("");
    })
}

impl Upstreams {
    /// They listen on Unix sockets, so that only nginx takes a port.
    fn start(binary: &Path) -> Result<Self> {
        let dir = TempDir::with_prefix("event-pipe-demo-")?;
        let bodies = dir.path().join("bodies");
        create_bodies(&bodies)?;

        let uwsgi = Uwsgi::start(dir.path(), &bodies)?;
        let origin_socket = dir.path().join("origin.sock");
        let origin = Nginx::start(binary, |conf| {
            conf.server = format!(
                "listen unix:{};\nroot {};",
                origin_socket.display(),
                bodies.display()
            );
        })?;
        Ok(Self {
            _origin: origin,
            origin_socket,
            uwsgi,
            bodies,
            _dir: dir,
        })
    }
}

impl Front {
    pub(crate) fn of(stage: &Stage) -> Self {
        Self {
            address: stage.address(),
            log: stage.nginx.error_log_path(),
            bodies: stage.upstream.bodies.clone(),
        }
    }

    /// What the upstreams have under that name.
    pub(crate) fn upstream_body(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.bodies.join(name))
    }

    /// The first line of the error log with that text.
    pub(crate) fn log_line(&self, text: &str) -> Result<Option<String>> {
        let log = fs::read_to_string(&self.log)?;
        let line = log.lines().find(|line| line.contains(text));
        Ok(line.map(str::to_owned))
    }

    /// Tells what can be done with it.
    pub(crate) fn invite(&self) {
        let (address, log) = (self.address, self.log.display());
        println!(
            "
nginx keeps running until Ctrl-C. Try:

  curl -o /dev/null http://{address}/plain/{LARGE_BODY}
  curl -o /dev/null --limit-rate 2M http://{address}/plain/{LARGE_BODY}
  curl -o /dev/null -sD - http://{address}/cached/{BODY}
  curl -o /dev/null -sD - http://{address}/fastcgi/{BODY}
  cat {log}"
        );
    }

    /// Waits until nginx has logged that text.
    pub(crate) fn wait_for_log(&self, text: &str) -> Result<()> {
        match wait(|| matches!(self.log_line(text), Ok(Some(_)))) {
            true => Ok(()),
            false => Err(Error::other(format!("nginx never logged \"{text}\""))),
        }
    }
}

/// Random bytes: no wrong piece of a body can be taken for the right one.
fn create_bodies(dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    let random = File::open("/dev/urandom")?;
    for (name, size) in BODIES {
        let mut body = File::create(dir.join(name))?;
        io::copy(&mut (&random).take(size), &mut body)?;
    }
    Ok(())
}

fn locations(origin: &Path, fastcgi: &Path) -> String {
    let (origin, fastcgi) = (origin.display(), fastcgi.display());
    format!(
        "
        location /plain/ {{
            proxy_pass http://unix:{origin}:/;
            # Too little for the large body: the rest goes to a temporary file.
            event_pipe_memory 4m;
        }}

        location /cached/ {{
            proxy_pass http://unix:{origin}:/;
            proxy_cache demo;
            proxy_cache_valid 200 1h;
            add_header X-Cache-Status $upstream_cache_status;
        }}

        location /fastcgi/ {{
            fastcgi_pass unix:{fastcgi};
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param SERVER_NAME $server_name;
            fastcgi_param SERVER_PORT $server_port;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
        }}
        "
    )
}
