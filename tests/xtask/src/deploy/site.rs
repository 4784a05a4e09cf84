//! An nginx that was built somewhere, as a proxy of itself.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use xshell::{Shell, cmd};

use super::empty;
use crate::Result;

/// An nginx, and a folder for it to work in.
pub(crate) struct Site<'a> {
    /// How nginx is called, be it in a chroot.
    pub(crate) command: Vec<String>,
    /// The folder, and what nginx calls it.
    pub(crate) outside: &'a Path,
    pub(crate) inside: &'a Path,
}

/// What a site has.
pub(super) struct Content<'a> {
    /// The name of its folder, which stays.
    pub(super) name: &'a str,
    /// Creates the bodies in a folder.
    pub(super) create: &'a dyn Fn(&Path) -> Result,
    /// Locations of a proxy of the server with this address, which has the bodies.
    pub(super) locations: &'a dyn Fn(&str) -> String,
}

impl Site<'_> {
    /// Runs nginx while `visit` asks the proxy, at this port, for bodies. Returns the
    /// error log.
    pub(super) fn serve(
        &self,
        shell: &Shell,
        content: &Content<'_>,
        visit: impl FnOnce(u16) -> Result,
    ) -> Result<String> {
        let [port, upstream] = free_ports()?;
        let stage = empty(&self.outside.join(content.name))?;
        fs::create_dir_all(stage.join("logs"))?;
        (content.create)(&stage.join("html"))?;
        cmd!(shell, "chmod -R a+rwX {stage}").quiet().run()?;
        let upstream = format!("127.0.0.1:{upstream}");
        let locations = (content.locations)(&upstream);
        fs::write(
            stage.join("nginx.conf"),
            configuration(port, &upstream, &locations),
        )?;

        let command = &self.command;
        let prefix = self.inside.join(content.name);
        let conf = ["-c", "nginx.conf"];
        cmd!(shell, "env {command...} -p {prefix} {conf...}")
            .quiet()
            .run()?;
        let outcome = visit(port);
        cmd!(shell, "env {command...} -p {prefix} {conf...} -s stop")
            .quiet()
            .run()?;
        outcome?;
        Ok(fs::read_to_string(stage.join("logs/error.log"))?)
    }
}

fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// One server sends files, and the other is a proxy of it.
fn configuration(port: u16, upstream: &str, locations: &str) -> String {
    format!(
        "user root; pid logs/nginx.pid; error_log logs/error.log notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path temp; fastcgi_temp_path fastcgi;
    scgi_temp_path scgi; uwsgi_temp_path uwsgi;
    proxy_cache_path cache keys_zone=cache:1m;
    server {{ listen {upstream}; root html; sendfile on; }}
    server {{
        listen 127.0.0.1:{port};
{locations}
        location /cached/ {{
            proxy_pass http://{upstream}; proxy_cache cache; proxy_cache_valid 1h;
        }}
    }}
}}
"
    )
}
