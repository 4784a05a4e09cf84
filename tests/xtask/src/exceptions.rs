//! Lists of what is not as it should be, each entry with its reason.
//!
//! An exception is a line as it is found, and its reason the indented lines
//! below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::Result;
use crate::project::root;

/// Compares what is found with the list in a file, and returns what is wrong:
/// `not explained: ...`, `explained in vain: ...`, `no reason: ...`.
pub(crate) fn unexplained(found: &[String], list: &str) -> Result<Vec<String>> {
    Ok(compare(found, &fs::read_to_string(root().join(list))?))
}

fn compare(found: &[String], list: &str) -> Vec<String> {
    let listed = parse(list);
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let complain = |what: &str, line: &str| format!("{what}: {line}");

    let new = found.iter().filter(|line| !listed.contains_key(*line));
    let mut complaints: Vec<_> = new.map(|line| complain("not explained", line)).collect();
    for (line, has_reason) in listed {
        if !found.contains(line) {
            complaints.push(complain(IN_VAIN, line));
        }
        if !has_reason {
            complaints.push(complain("no reason", line));
        }
    }
    complaints.sort();
    complaints
}

/// What a complaint begins with if something is listed and not found.
pub(crate) const IN_VAIN: &str = "explained in vain";

/// The entries, and whether each has a reason.
fn parse(list: &str) -> BTreeMap<&str, bool> {
    let mut listed = BTreeMap::new();
    let mut entry = None;
    for line in list.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match (line.starts_with(' '), entry) {
            (false, _) => {
                entry = Some(line);
                listed.insert(line, false);
            }
            (true, Some(entry)) => {
                listed.insert(entry, true);
            }
            (true, None) => (),
        }
    }
    listed
}

/// The text of a line from a column on; both are counted from 1, the column in
/// bytes.
pub(crate) fn source_at(file: &str, line: usize, column: usize) -> Result<String> {
    let text = fs::read_to_string(root().join(file))?;
    let line = text.lines().nth(line.saturating_sub(1));
    let rest = line.and_then(|line| line.get(column.saturating_sub(1)..));
    Ok(rest.unwrap_or_default().trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# A comment.

src/a.rs: never true: a
    It is a guard.
src/b.rs: never true: b
";

    fn found(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn what_is_found_and_listed_with_a_reason_is_well() {
        let found = found(&["src/a.rs: never true: a", "src/a.rs: never true: a"]);
        assert_eq!(
            compare(&found, LIST),
            [
                "explained in vain: src/b.rs: never true: b",
                "no reason: src/b.rs: never true: b"
            ]
        );
    }

    #[test]
    fn what_is_not_listed_is_not_explained() {
        let found = found(&["src/a.rs: never true: a", "src/b.rs: never true: b", "c"]);
        assert_eq!(
            compare(&found, LIST),
            ["no reason: src/b.rs: never true: b", "not explained: c"]
        );
    }
}
