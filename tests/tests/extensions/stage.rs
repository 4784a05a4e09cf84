//! An nginx before scripted upstreams.

use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use pipe_tests::server::{Conf, Nginx};
use pipe_tests::upstream::{Progress, Protocol, Reply, Script, Upstreams};

pub struct Stage {
    pub nginx: Nginx,
    upstreams: Upstreams,
}

impl Stage {
    /// With what `configure` adds; its upstream `peer` speaks HTTP, and
    /// `fastcgi` FastCGI.
    pub fn start(binary: &Path, configure: impl FnOnce(&mut Conf)) -> Result<Self> {
        let upstreams = Upstreams::start()?;
        let nginx = Nginx::start(binary, |conf| {
            for (name, protocol) in [("peer", Protocol::Http), ("fastcgi", Protocol::FastCgi)] {
                let server = upstreams.address(protocol);
                conf.http += &format!("upstream {name} {{ server {server}; }}\n");
            }
            conf.http += "access_log off; proxy_http_version 1.1;\n";
            configure(conf);
        })?;
        Ok(Self { nginx, upstreams })
    }

    /// Has requests for a path answered so.
    pub fn play(&self, path: &str, reply: Reply) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        let script = Script::new(vec![reply], Arc::clone(&progress));
        self.upstreams.play(path, Arc::new(script));
        progress
    }

    pub fn address(&self) -> SocketAddr {
        self.nginx.address()
    }

    /// Ends it; an error where nginx itself went wrong.
    pub fn stop(self) -> Result<()> {
        drop(self.upstreams);
        self.nginx.stop()?.check()
    }
}
