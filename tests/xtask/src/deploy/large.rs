//! A body of more than 4 GiB, which 32 bits cannot count.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xshell::Shell;

use super::site::{Content, Site};
use crate::Result;

/// The bytes of the body, and how far apart in it places are marked.
const BODY: u64 = 5 << 30;
const STEP: u64 = 64 << 10;

/// The name of the folder of the site.
const NAME: &str = "large";

/// Sends the body through buffers, and into the cache; every marked place
/// must be where it was, and the totals of all workers must be exact.
pub(super) fn run(shell: &Shell, site: &Site<'_>) -> Result {
    let content = Content {
        name: NAME,
        create: &create,
        locations: &locations,
    };
    site.serve(shell, &content, fetched)?;
    shell.remove_path(site.outside.join(NAME))?;
    println!("{BODY} bytes through buffers and into the cache: whole, and counted exactly");
    Ok(())
}

fn create(html: &Path) -> Result {
    fs::create_dir_all(html.join("plain"))?;
    let body = File::create(html.join("plain/body"))?;
    body.set_len(BODY)?;
    for place in (0..BODY).step_by(STEP as usize) {
        body.write_all_at(&mark(place), place)?;
    }
    for path in ["cached", "slow"] {
        fs::create_dir_all(html.join(path))?;
        fs::hard_link(html.join("plain/body"), html.join(path).join("body"))?;
    }
    Ok(())
}

fn fetched(port: u16) -> Result {
    let mut spilled = 0;
    for (done, path) in (1..).zip(["/plain/body", "/cached/body", "/slow/body"]) {
        read_body(port, path)?;
        let status = wait_for(port, done)?;
        for name in ["received_bytes", "passed_bytes"] {
            let total = total(&status, name)?;
            if total != done * BODY {
                return Err(format!("{path}: {name} is {total}").into());
            }
        }
        spilled = total(&status, "spilled_bytes")?;
    }
    println!("spilled for the client: {spilled} bytes");
    Ok(())
}

fn mark(place: u64) -> [u8; 8] {
    (place ^ 0x5555_5555_5555_5555).to_be_bytes()
}

/// Asks for a path; what comes behind the header.
fn ask(port: u16, path: &str) -> Result<TcpStream> {
    let mut attempts = 0;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if attempts == 100 => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
        attempts += 1;
    };
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut header = Vec::new();
    let mut byte = [0];
    while !header.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(format!("{path}: no header").into());
        }
        header.push(byte[0]);
    }
    Ok(stream)
}

/// Reads a body, and finds every mark where it belongs and nothing else.
fn read_body(port: u16, path: &str) -> Result {
    let mut stream = ask(port, path)?;
    if path.starts_with("/slow") {
        // By then all that nginx takes from upstream is in its file.
        thread::sleep(Duration::from_secs(20));
    }
    let (mut step, zeros) = (vec![0; STEP as usize], vec![0; STEP as usize - 8]);
    for place in (0..BODY).step_by(STEP as usize) {
        stream
            .read_exact(&mut step)
            .map_err(|error| format!("{path}: at {place}: {error}"))?;
        let (first, rest) = step.split_at(8);
        if first != mark(place) || rest != zeros {
            return Err(format!("{path}: other bytes at {place}").into());
        }
    }
    match stream.read(&mut step)? {
        0 => Ok(()),
        _ => Err(format!("{path}: more than {BODY} bytes").into()),
    }
}

/// The status, when so many responses are over.
fn wait_for(port: u16, responses: u64) -> Result<String> {
    for _ in 0..600 {
        let mut status = String::new();
        ask(port, "/status")?.read_to_string(&mut status)?;
        if total(&status, "responses")? == responses {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(format!("{responses} responses are not counted").into())
}

/// One of the totals, the first of its name.
fn total(status: &str, name: &str) -> Result<u64> {
    let key = format!("\"{name}\": ");
    let place = status.find(&key).ok_or("no such total")?;
    let rest = status.get(place + key.len()..).unwrap_or_default();
    let end = rest.find([',', '\n', '}']).unwrap_or(rest.len());
    Ok(rest.get(..end).unwrap_or_default().trim().parse()?)
}

fn locations(upstream: &str) -> String {
    format!(
        "        location /status {{ event_pipe_status; access_log off; }}
        location /plain/ {{ proxy_pass http://{upstream}; proxy_max_temp_file_size 0; }}
        location /slow/ {{ proxy_pass http://{upstream}; proxy_max_temp_file_size 1024m; }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() -> Result {
        let status = "{\n  \"responses\": 2,\n  \"received_bytes\": 10737418240\n}";
        assert_eq!(total(status, "responses")?, 2);
        assert_eq!(total(status, "received_bytes")?, 2 * BODY);
        assert!(total(status, "none").is_err());
        Ok(())
    }
}
