//! A log that nginx writes, read bit by bit.

use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::path::PathBuf;

/// The end of a log that has not been read yet.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<File>,
}

impl Tail {
    /// That of a log from which nothing has been read.
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Reads all that has come to the log since it was read last; nothing where there
    /// is no log yet.
    pub(crate) fn read_on(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.file.is_none() {
            match File::open(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(bytes),
                opened => self.file = Some(opened?),
            }
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// The same as text: logs hold whatever a peer has sent.
    pub(crate) fn read_text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read_on()?).into_owned())
    }
}
