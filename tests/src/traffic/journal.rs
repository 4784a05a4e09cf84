//! What nginx writes into its logs, case by case.

use std::collections::HashMap;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::tail::Tail;
use crate::upstream::lock;

/// A log that grows, its lines sorted by the case they belong to.
#[derive(Debug)]
pub(super) struct Journal(Mutex<State>);

#[derive(Debug)]
struct State {
    log: Tail,
    /// The start of a line whose end is not there yet.
    rest: Vec<u8>,
    lines: HashMap<String, Vec<String>>,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Mutex::new(State {
            log: Tail::of(path),
            rest: Vec::new(),
            lines: HashMap::new(),
        }))
    }

    /// The lines that belong to the case `id` so far.
    pub(super) fn lines(&self, id: &str) -> Result<Vec<String>> {
        let mut state = lock(&self.0);
        state.read_on()?;
        Ok(state.lines.get(id).cloned().unwrap_or_default())
    }
}

impl State {
    fn read_on(&mut self) -> Result<()> {
        self.rest.extend(self.log.read_on()?);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n');
        let whole: Vec<u8> = self.rest.drain(..end.map_or(0, |end| end + 1)).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            if let Some(id) = case_of(line) {
                self.lines
                    .entry(id.to_owned())
                    .or_default()
                    .push(line.to_owned());
            }
        }
        Ok(())
    }
}

/// The case a line belongs to: the first part of the path of its request.
fn case_of(line: &str) -> Option<&str> {
    let request = line.split_once("request: \"")?.1;
    let path = request.split(' ').nth(1)?;
    path.strip_prefix('/')?.split('/').next()
}

/// What kind of line of the error log `line` is: its level and message without
/// whatever differs from run to run.
pub(crate) fn kind(line: &str, prefix: &Path) -> String {
    let from_level = line.find('[').map_or(line, |at| &line[at..]);
    let (level, message) = from_level.split_once(' ').unwrap_or((from_level, ""));
    // After the process and the thread, there may be the connection.
    let message = message
        .split_once(": ")
        .map_or(message, |(_, message)| message);
    let message = match message.strip_prefix('*') {
        Some(rest) => rest.split_once(' ').map_or(rest, |(_, message)| message),
        None => message,
    };
    let message = message.split(", client: ").next().unwrap_or_default();
    let message = message.replace(&*prefix.to_string_lossy(), "PREFIX");

    let mut kind = format!("{level} ");
    for char in message.chars() {
        match char {
            '0'..='9' if kind.ends_with('N') => {}
            '0'..='9' => kind.push('N'),
            char => kind.push(char),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LINE: &str = "2026/01/02 03:04:05 [warn] 17#18: *19 an upstream response is buffered \
        to a temporary file /tmp/x/temp/proxy/1/00/0000000001 while reading upstream, \
        client: 127.0.0.1, server: , request: \"GET /c5/main HTTP/1.1\", host: \"pipe\"";

    #[test]
    fn tells_the_kind() {
        assert_eq!(
            kind(LINE, "/tmp/x".as_ref()),
            "[warn] an upstream response is buffered to a temporary file \
             PREFIX/temp/proxy/N/N/N while reading upstream"
        );
        assert_eq!(
            kind("2026/01/02 03:04:05 [notice] 17#17: exit", "/".as_ref()),
            "[notice] exit"
        );
    }

    #[test]
    fn sorts_lines_by_case_as_they_come() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("error.log");
        let journal = Journal::new(path.clone());
        assert!(journal.lines("c5")?.is_empty());
        let (start, end) = LINE.split_at(40);
        fs::write(&path, start)?;
        assert!(journal.lines("c5")?.is_empty());
        fs::write(&path, format!("{start}{end}\nnothing of a case\n"))?;
        assert_eq!(journal.lines("c5")?, [LINE]);
        assert!(journal.lines("c50")?.is_empty());
        Ok(())
    }
}
