//! How long upstream is busy with a response: from the request until upstream has
//! handed the last byte to its kernel. A pipe that makes upstream wait for a slow
//! client keeps it busy for as long as the client takes.

use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;

use pipe_tests::server::{Conf, Nginx};

/// A request with this header is noted; the others cost upstream no time.
pub(crate) const HEADER: &str = "X-Noted";

const FILE: &str = "busy.log";

/// Has upstream, an nginx, note the time of each response.
pub(crate) fn configure(conf: &mut Conf) {
    let variable = HEADER.to_ascii_lowercase().replace('-', "_");
    conf.http += "log_format busy $request_time;\n";
    conf.server += &format!("access_log {FILE} busy if=$http_{variable};\n");
}

/// What upstream has noted.
#[derive(Debug)]
pub(crate) struct Busy {
    file: PathBuf,
}

impl Busy {
    pub(crate) fn of(upstream: &Nginx) -> Self {
        Self {
            file: upstream.prefix().join(FILE),
        }
    }

    /// Forgets what was noted so far.
    pub(crate) fn clear(&self) -> Result<()> {
        fs::write(&self.file, "")
    }

    /// Milliseconds of a response, on average; none where nothing was noted.
    pub(crate) fn mean(&self) -> Result<Option<f64>> {
        let text = fs::read_to_string(&self.file)?;
        let seconds: std::result::Result<Vec<f64>, _> = text.lines().map(str::parse).collect();
        let seconds = seconds.map_err(Error::other)?;
        let sum: f64 = seconds.iter().sum();
        Ok((!seconds.is_empty()).then(|| sum * 1000.0 / seconds.len() as f64))
    }
}
