//! A short look at an nginx that was built somewhere: it has this pipe, and
//! bodies come through it whole.

use std::fs;
use std::path::Path;

use xshell::{Shell, cmd};

use super::chroot::Chroot;
use super::site::{Content, Site};
use crate::Result;

/// The bytes of the body.
const BODY: usize = 10_000_019;

/// The ways of the body.
const PATHS: [&str; 3] = ["plain", "spilled", "cached"];

/// Has nginx carry a body from one of its servers to another, through buffers,
/// a temporary file and the cache.
pub(crate) fn carries_traffic(shell: &Shell, nginx: &Path, folder: &Path) -> Result {
    let site = Site {
        command: vec![nginx.display().to_string()],
        outside: folder,
        inside: folder,
    };
    run(shell, &site)
}

/// The same for the nginx that is installed in a chroot.
pub(super) fn run_in(shell: &Shell, chroot: &Chroot) -> Result {
    let outside = chroot.root.join("stage");
    fs::create_dir_all(&outside)?;
    let site = Site {
        command: chroot.command(&["nginx"]),
        outside: &outside,
        inside: Path::new("/stage"),
    };
    run(shell, &site)
}

/// The same for a site.
pub(crate) fn run(shell: &Shell, site: &Site<'_>) -> Result {
    let body: Vec<u8> = (0..BODY).map(|place| (place % 251) as u8).collect();
    let content = Content {
        name: "smoke",
        create: &|html| {
            for path in PATHS {
                fs::create_dir_all(html.join(path))?;
                fs::write(html.join(path).join("body"), &body)?;
            }
            Ok(())
        },
        locations: &|upstream| {
            format!(
                "        proxy_buffers 8 4k;
        location /plain/ {{ proxy_pass http://{upstream}; }}
        location /spilled/ {{ proxy_pass http://{upstream}; proxy_max_temp_file_size 1m; }}"
            )
        },
    };
    let log = site.serve(shell, &content, |port| fetched(shell, port, &body))?;

    let mut lines = log.lines();
    let ours = lines.find(|line| line.contains("event pipe: ngx-event-pipe/"));
    println!("{}", ours.ok_or("nginx names no pipe in its log")?);
    println!("plain, spilled and cached: {BODY} bytes each, the same");
    Ok(())
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
