//! A short look at an nginx that was built somewhere: it has this pipe, and
//! bodies come through it whole.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use xshell::{Shell, cmd};

use crate::Result;

/// The bytes of the body.
const BODY: usize = 10_000_019;

/// The ways of the body.
const PATHS: [&str; 3] = ["plain", "spilled", "cached"];

/// Has nginx carry a body from one of its servers to another, through buffers,
/// a temporary file and the cache.
pub(crate) fn carries_traffic(shell: &Shell, nginx: &Path, folder: &Path) -> Result {
    Smoke {
        command: vec![nginx.display().to_string()],
        outside: folder,
        inside: folder,
    }
    .run(shell)
}

/// An nginx, and a folder for it to work in.
pub(crate) struct Smoke<'a> {
    /// How nginx is called, be it in a chroot.
    pub(crate) command: Vec<String>,
    /// The folder, and what nginx calls it.
    pub(crate) outside: &'a Path,
    pub(crate) inside: &'a Path,
}

impl Smoke<'_> {
    pub(crate) fn run(&self, shell: &Shell) -> Result {
        let listeners = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let [port, upstream] = [
            listeners[0].local_addr()?.port(),
            listeners[1].local_addr()?.port(),
        ];
        drop(listeners);
        let stage = self.outside.join("smoke");
        if stage.exists() {
            fs::remove_dir_all(&stage)?;
        }
        fs::create_dir_all(stage.join("logs"))?;
        let body: Vec<u8> = (0..BODY).map(|place| (place % 251) as u8).collect();
        for path in PATHS {
            fs::create_dir_all(stage.join("html").join(path))?;
            fs::write(stage.join("html").join(path).join("body"), &body)?;
        }
        cmd!(shell, "chmod -R a+rwX {stage}").quiet().run()?;
        fs::write(stage.join("nginx.conf"), configuration(port, upstream))?;

        let command = &self.command;
        let prefix = self.inside.join("smoke");
        let conf = ["-c", "nginx.conf"];
        cmd!(shell, "env {command...} -p {prefix} {conf...}")
            .quiet()
            .run()?;
        let outcome = fetched(shell, port, &body);
        cmd!(shell, "env {command...} -p {prefix} {conf...} -s stop")
            .quiet()
            .run()?;
        outcome?;

        let log = fs::read_to_string(stage.join("logs/error.log"))?;
        let mut lines = log.lines();
        let ours = lines.find(|line| line.contains("event pipe: ngx-event-pipe/"));
        println!("{}", ours.ok_or("nginx names no pipe in its log")?);
        println!("plain, spilled and cached: {BODY} bytes each, the same");
        Ok(())
    }
}

fn fetched(shell: &Shell, port: u16, body: &[u8]) -> Result {
    for (path, rate) in [
        ("plain", "0"),
        ("spilled", "20M"),
        ("cached", "0"),
        ("cached", "0"),
    ] {
        let address = format!("http://127.0.0.1:{port}/{path}/body");
        let words = ["--silent", "--show-error", "--fail", "--limit-rate", rate];
        let retry = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
        let output = cmd!(shell, "curl {words...} {retry...} {address}");
        let got = output.quiet().output()?.stdout;
        if got != body {
            return Err(format!("{path}: {} bytes, or others, than sent", got.len()).into());
        }
    }
    Ok(())
}

/// One server sends files, and the other is a proxy of it.
fn configuration(port: u16, upstream: u16) -> String {
    format!(
        "user root; pid logs/nginx.pid; error_log logs/error.log notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path temp; fastcgi_temp_path fastcgi;
    scgi_temp_path scgi; uwsgi_temp_path uwsgi;
    proxy_cache_path cache keys_zone=cache:1m;
    server {{ listen 127.0.0.1:{upstream}; root html; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_buffers 8 4k;
        location /plain/ {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location /spilled/ {{ proxy_pass http://127.0.0.1:{upstream}; proxy_max_temp_file_size 1m; }}
        location /cached/ {{
            proxy_pass http://127.0.0.1:{upstream}; proxy_cache cache; proxy_cache_valid 1h;
        }}
    }}
}}
"
    )
}
