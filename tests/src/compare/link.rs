//! A link that is slow for a while, below whatever is spoken over it.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::case::Pace;

/// A connection over such a link, or over a fast one.
#[derive(Debug)]
pub(super) struct Link {
    tcp: TcpStream,
    pace: Option<Pace>,
    /// How many bytes it has carried, both ways.
    carried: usize,
}

impl Link {
    pub(super) fn new(tcp: TcpStream, pace: Option<Pace>) -> Self {
        Self {
            tcp,
            pace,
            carried: 0,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn slow(&self) -> Option<Pace> {
        self.pace.filter(|pace| self.carried < pace.until)
    }

    /// How much of so many bytes goes over it at a time.
    fn most(&self, size: usize) -> usize {
        self.slow().map_or(size, |pace| size.min(pace.step))
    }

    fn rest(&mut self, size: usize) {
        if let Some(pace) = self.slow() {
            thread::sleep(Duration::from_micros(pace.rest));
        }
        self.carried += size;
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = self.most(buffer.len());
        let size = self.tcp.read(&mut buffer[..most])?;
        self.rest(size);
        Ok(size)
    }
}

impl Write for Link {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let most = self.most(buffer.len());
        let size = self.tcp.write(&buffer[..most])?;
        self.rest(size);
        Ok(size)
    }

    fn flush(&mut self) -> Result<()> {
        self.tcp.flush()
    }
}
