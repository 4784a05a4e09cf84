//! What the demonstration runs: nginx with the Rust pipe, and two upstreams
//! behind it.

use std::fs::{self, File};
use std::io::{self, Error, Read, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use pipe_tests::peers::uwsgi::{Protocol, Uwsgi};
use pipe_tests::server::Nginx;
use tempfile::TempDir;

/// A body of some hundred buffers.
pub(crate) const BODY: &str = "body";

/// A body too large for all the buffers on the way to a client that waits.
pub(crate) const LARGE_BODY: &str = "large-body";

const BODIES: [(&str, u64); 2] = [(BODY, 3_000_017), (LARGE_BODY, 20_000_003)];

const FRONT: &str = "proxy_cache_path cache keys_zone=demo:1m;";

/// Only keeps a bug from hanging the demonstration.
const PATIENCE: Duration = Duration::from_secs(30);

/// Dropped from top to bottom: nginx first, the files last.
#[derive(Debug)]
pub(crate) struct Stage {
    nginx: Nginx,
    _origin: Nginx,
    _uwsgi: Uwsgi,
    dir: TempDir,
}

/// What the demonstration needs to know of a [`Stage`] that stands.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
    bodies: PathBuf,
}

impl Stage {
    /// Starts the nginx at `binary` and the upstreams. These listen on Unix
    /// sockets, so that only one port is taken.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        let dir = TempDir::with_prefix("event-pipe-demo-")?;
        let bodies = dir.path().join("bodies");
        create_bodies(&bodies)?;

        let uwsgi = Uwsgi::start(dir.path(), &bodies)?;
        let socket = dir.path().join("origin.sock");
        let origin = Nginx::start(binary, |conf| {
            conf.server = format!(
                "listen unix:{};\nroot {};",
                socket.display(),
                bodies.display()
            );
        })?;
        let nginx = Nginx::start(binary, |conf| {
            // Enough to tell which pipe runs, and of responses that spill.
            conf.log_level = "notice";
            conf.http = FRONT.to_owned();
            conf.server = locations(&socket, &uwsgi.socket(Protocol::FastCgi));
            conf.listen("");
        })?;
        Ok(Self {
            nginx,
            _origin: origin,
            _uwsgi: uwsgi,
            dir,
        })
    }

    pub(crate) fn front(&self) -> Front {
        Front {
            address: self.nginx.address(),
            log: self.nginx.error_log_path(),
            bodies: self.dir.path().join("bodies"),
        }
    }
}

impl Front {
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
        let start = Instant::now();
        while self.log_line(text)?.is_none() {
            if start.elapsed() > PATIENCE {
                return Err(Error::other(format!("nginx never logged \"{text}\"")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
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
