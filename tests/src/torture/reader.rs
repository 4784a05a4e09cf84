//! The client, which reads only what is there already.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::scenario::Client;
use crate::client::{Answer, Decoder, Ending, Request};

/// A connection to nginx.
pub(super) struct Reader {
    stream: UnixStream,
    pub(super) manner: Client,
    decoder: Decoder,
    ending: Option<Ending>,
}

impl Reader {
    pub(super) fn connect(path: &Path, request: &Request, manner: Client) -> Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(request.text().as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            manner,
            decoder: Decoder::new(request.method),
            ending: None,
        })
    }

    /// Reads as much as is its manner; false where there is nothing.
    pub(super) fn read(&mut self) -> Result<bool> {
        if self.ending.is_some() {
            return Ok(false);
        }
        let size = match self.manner {
            Client::Slow(size) => size,
            Client::Fast | Client::Leaves(_) => 65536,
        };
        let mut buffer = vec![0; size];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ending = Some(Ending::Closed),
            Ok(size) => self.decoder.feed(&buffer[..size])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if is_hung_up(&error) => self.ending = Some(Ending::Reset),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    pub(super) fn leave(&mut self) -> Result<()> {
        self.ending = Some(Ending::Left);
        self.stream.shutdown(Shutdown::Both)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some()
    }

    /// Closes the connection, if nginx has not.
    pub(super) fn finish(self) -> Answer {
        let mut answer = self.decoder.finish(self.ending.unwrap_or(Ending::Left));
        answer.headers.retain(|line| !line.starts_with("Date: "));
        answer
    }
}

/// Whether the other end is gone.
pub(super) fn is_hung_up(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}
