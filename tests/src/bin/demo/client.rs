//! The client: HTTP/1.0, so that a body is all that comes until the end.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Only keeps a bug from hanging the demonstration.
const GIVE_UP: Duration = Duration::from_secs(60);

pub(crate) struct Response {
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Requests `path`, does not read a byte until `ready` returns, then reads all.
pub(crate) fn get(
    server: SocketAddr,
    path: &str,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Response> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(GIVE_UP))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: demo\r\n\r\n")?;
    ready()?;

    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let end = text.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| Error::other(format!("{path}: no response")))?;
    let body = text.split_off(end + 4);
    let head = String::from_utf8_lossy(&text).into_owned();
    if head.split(' ').nth(1) != Some("200") {
        let status = head.lines().next().unwrap_or_default();
        return Err(Error::other(format!("{path}: {status}")));
    }
    Ok(Response { head, body })
}
