//! One nginx and what stands behind it, set up for a test and taken down by it.
//!
//! ```no_run
//! # use pipe_tests::Stage;
//! # use pipe_tests::client::Manner;
//! # use pipe_tests::upstream::Reply;
//! # fn main() -> std::io::Result<()> {
//! let stage = Stage::start("objs/nginx".as_ref(), |conf| {
//!     conf.listen("");
//!     conf.server += "location / { proxy_pass http://peer; }";
//! })?;
//! stage.play("/", Reply::random(1, 10_000));
//! let answer = stage.ask("/", Manner::FAST)?;
//! // … look at it …
//! stage.stop()
//! # }
//! ```

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::client::{Answer, Connection, Manner, Request};
use crate::server::{Conf, Leftovers, Nginx};
use crate::upstream::{Progress, Protocol, Reply, Script, Upstreams};

/// An nginx before `upstream`: scripted peers, or whatever else a test needs there.
///
/// When it is dropped, nginx ends before what is behind it.
#[derive(Debug)]
pub struct Stage<U = Upstreams> {
    pub nginx: Nginx,
    pub upstream: U,
}

impl<U> Stage<U> {
    /// Starts `binary` with what `configure` adds to the configuration.
    pub fn before(
        upstream: U,
        binary: &Path,
        configure: impl FnOnce(&mut Conf, &U),
    ) -> Result<Self> {
        let nginx = Nginx::start(binary, |conf| configure(conf, &upstream))?;
        Ok(Self { nginx, upstream })
    }

    /// The first address that nginx listens on.
    pub fn address(&self) -> SocketAddr {
        self.nginx.address()
    }

    /// Waits until a worker has answered a request for `/ready`, for which the
    /// configuration must have `return 204`: it has opened all it opens by itself.
    pub fn await_worker(&self) -> Result<()> {
        let answer = ask(self.address(), "/ready", Manner::FAST, &Progress::default())?;
        match answer.status {
            204 => Ok(()),
            _ => Err(Error::other(format!("nginx is not ready: {answer:?}"))),
        }
    }

    /// Ends all, first what is behind nginx, and says what remained of nginx.
    pub fn end(self) -> Result<Leftovers> {
        drop(self.upstream);
        self.nginx.stop()
    }

    /// Ends all; an error where nginx itself went wrong.
    pub fn stop(self) -> Result<()> {
        self.end()?.check()
    }
}

impl Stage {
    /// An nginx before scripted peers, with what `configure` adds; they have the names
    /// that [`Protocol::peer`] gives them.
    pub fn start(binary: &Path, configure: impl FnOnce(&mut Conf)) -> Result<Self> {
        Self::before(Upstreams::start()?, binary, |conf, upstreams| {
            for protocol in Protocol::ALL {
                let (name, server) = (protocol.peer(), upstreams.address(protocol));
                conf.http += &format!("upstream {name} {{ server {server}; }}\n");
            }
            conf.tell_requests();
            configure(conf);
        })
    }

    /// Has requests for `path` answered so.
    pub fn play(&self, path: &str, reply: Reply) -> Arc<Progress> {
        let progress = Arc::new(Progress::across(self.nginx.master()));
        let script = Script::new(vec![reply], Arc::clone(&progress));
        self.upstream.play(path, Arc::new(script));
        progress
    }

    /// Asks for `path`, and is gone then.
    pub fn ask(&self, path: &str, manner: Manner) -> Result<Answer> {
        let progress = self.upstream.progress(path);
        let answer = ask(self.address(), path, manner, &progress);
        progress.client_gone();
        answer
    }

    /// A total of the page `/status`, which must be that for Prometheus.
    pub fn total(&self, name: &str) -> Result<u64> {
        self.gauge(&format!("{name}_total"))
    }

    /// What the page at `/status`, in the format for Prometheus, has as this gauge.
    pub fn gauge(&self, name: &str) -> Result<u64> {
        let answer = self.ask("/status", Manner::FAST)?;
        let text = String::from_utf8(answer.body).map_err(Error::other)?;
        let name = format!("nginx_event_pipe_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| Error::other(format!("no {name}in {text}")))
    }
}

fn ask(address: SocketAddr, path: &str, manner: Manner, progress: &Progress) -> Result<Answer> {
    let mut connection = Connection::open(address, manner.is_slow())?;
    connection.ask(&Request::get(path), manner, progress)
}
