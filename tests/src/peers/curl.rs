//! curl as the client.

use std::io::{self, Error, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::{command, run, start};

/// Longer than anything here takes, even on a loaded machine: it only keeps a
/// hanging transfer from hanging the tests.
const GIVE_UP_SECONDS: &str = "120";

/// One curl command to be.
#[derive(Debug)]
pub struct Curl {
    command: Command,
    url: String,
}

/// What curl got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// As curl writes it: `1.1`, `2`.
    pub version: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// Without whatever it was encoded in, if curl was told to decode it.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Curl {
    /// A request for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        let mut command = command("curl");
        // No .curlrc and no proxy from the environment.
        command.args(["--disable", "--noproxy", "*", "--silent", "--show-error"]);
        command.args(["--max-time", GIVE_UP_SECONDS]);
        Self {
            command,
            url: url.into(),
        }
    }

    /// Any of curl's own options.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// The authority that the server's certificate must come from.
    #[must_use]
    pub fn trust(mut self, certificate: &Path) -> Self {
        self.command.arg("--cacert").arg(certificate);
        self
    }

    /// Fetches the whole response; a transfer that curl calls incomplete is an
    /// error.
    pub fn fetch(self) -> io::Result<Response> {
        let Self { mut command, url } = self;
        let output = run(command
            .args(["--include", "--write-out", "%{stderr}%{http_version}"])
            .arg(&url))?;
        let version = String::from_utf8_lossy(&output.stderr).into_owned();
        parse(&output.stdout, version)
            .ok_or_else(|| Error::other(format!("{url}: curl wrote no response head")))
    }

    /// Reads `bytes` bytes of the body, then kills curl in the middle of it.
    pub fn kill_after(self, bytes: usize) -> io::Result<()> {
        let Self { mut command, url } = self;
        command.arg(url).stdout(Stdio::piped());
        let mut child = start(&mut command, Command::spawn)?;
        let mut stdout = child.stdout.take().expect("stdout is piped");
        let read = stdout.read_exact(&mut vec![0; bytes]);
        child.kill()?;
        child.wait()?;
        read
    }
}

/// Takes apart what `--include` prints: a head, an empty line, the body.
fn parse(text: &[u8], version: String) -> Option<Response> {
    let end = text.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Response {
        status,
        version,
        headers,
        body: text[end + 4..].to_vec(),
    })
}
