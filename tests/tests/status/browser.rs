//! Chromium without a window, told what to do over its own protocol through two pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, Result, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use openssl::base64::decode_block;
use pipe_tests::peers::program::{self, Process};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(super) struct Browser {
    _process: Process,
    _profile: TempDir,
    to: File,
    from: BufReader<File>,
    id: u64,
    session: String,
    /// What went wrong in the page: exceptions, and errors in the console.
    pub(super) errors: Vec<String>,
}

/// Two ends of which one reads what is written to the other.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = UnixStream::pair()?;
    Ok((reader.into(), writer.into()))
}

impl Browser {
    pub(super) fn start() -> Result<Self> {
        let profile = TempDir::new()?;
        let (commands, to) = pipe()?;
        let (from, answers) = pipe()?;
        let mut command: Command = program::command("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args([
                "--no-first-run",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (read, write) = (commands.as_raw_fd(), answers.as_raw_fd());
        // SAFETY: dup2 and fcntl may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // Neither end may be in the way of the other's place.
                let read = libc::fcntl(read, libc::F_DUPFD, 10);
                let write = libc::fcntl(write, libc::F_DUPFD, 10);
                match libc::dup2(read, 3) != -1 && libc::dup2(write, 4) != -1 {
                    true => Ok(()),
                    false => Err(Error::last_os_error()),
                }
            });
        }
        let child = program::start(&mut command, Command::spawn)?;
        let mut browser = Self {
            _process: Process::new(child),
            _profile: profile,
            to: File::from(to),
            from: BufReader::new(File::from(from)),
            id: 0,
            session: String::new(),
            errors: Vec::new(),
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach)?;
        browser.session = attached["sessionId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method, and notes the events that come before its answer.
    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.id += 1;
        let mut message = json!({"id": self.id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        loop {
            let mut answer = Vec::new();
            if self.from.read_until(0, &mut answer)? == 0 {
                return Err(Error::other("the browser has ended"));
            }
            answer.pop();
            let mut answer: Value = serde_json::from_slice(&answer)?;
            if answer["id"] == self.id {
                return match answer["error"].is_null() {
                    true => Ok(answer["result"].take()),
                    false => Err(Error::other(format!("{method}: {}", answer["error"]))),
                };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        let is_error = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
            Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            self.errors.push(parameters.to_string());
        }
    }

    /// Opens an address.
    pub(super) fn open(&mut self, address: &str) -> Result<()> {
        self.call("Page.navigate", json!({"url": address}))
            .map(drop)
    }

    /// The value of an expression in the page.
    pub(super) fn value(&mut self, expression: &str) -> Result<Value> {
        let evaluate = json!({"expression": expression, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", evaluate)?;
        match result["exceptionDetails"].is_null() {
            true => Ok(result["result"]["value"].take()),
            false => Err(Error::other(format!(
                "{expression}: {}",
                result["exceptionDetails"]
            ))),
        }
    }

    /// Waits until an expression is true.
    pub(super) fn wait(&mut self, expression: &str) -> Result<()> {
        let start = Instant::now();
        while self.value(expression)? != true {
            if start.elapsed() > PATIENCE {
                let page = self.value("document.body.innerText")?;
                return Err(Error::other(format!(
                    "not true: {expression}; the page: {page}"
                )));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// How large the window is, in pixels, and what colours the user likes.
    pub(super) fn show(&mut self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}))?;
        Ok(())
    }

    /// A picture of the window, as PNG.
    pub(super) fn picture(&mut self) -> Result<Vec<u8>> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = picture["data"].as_str().unwrap_or_default();
        decode_block(data).map_err(Error::other)
    }

    /// Presses a key.
    pub(super) fn press(&mut self, key: &str, code: u32) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }
}
