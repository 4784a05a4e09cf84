//! Holds the imports of every file against the floors of the table in `lib.rs`, and
//! those of the extensions against the order that `extensions/mod.rs` gives.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The order of nginx's handles, of which each may use those before it.
const HANDLES: &[&str] = &[
    "bindings",
    "machine",
    "board",
    "text",
    "handle",
    "buf",
    "log",
    "loan",
    "pool",
    "file",
    "connection",
    "pipe",
    "state",
    "queue",
    "worker",
    "request",
];

/// The floors by the table: `//! | 2 | `raw` | ...`.
fn floors() -> BTreeMap<String, usize> {
    let text = read("lib.rs");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter_map(|row| {
            let mut cells = row.split(" | ");
            let floor = cells.next()?.parse().ok()?;
            Some((cells.next()?.trim_matches('`').to_owned(), floor))
        });
    rows.collect()
}

/// The ranks of the extensions by rule 3: lower ones come later there.
fn extensions() -> BTreeMap<String, usize> {
    let text = read("extensions/mod.rs").replace("\n//!", "");
    let (_, rule) = text
        .split_once("in this order:")
        .expect("the rule is there");
    let (order, _) = rule.split_once('.').expect("the rule ends");
    let ranks: Vec<&str> = order.split(';').collect();
    let names = ranks.iter().rev().enumerate().flat_map(|(rank, names)| {
        let names = names.split('`').skip(1).step_by(2);
        names.map(move |name| (name.to_owned(), rank))
    });
    names.collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(SOURCES).join(file)).expect("a source file")
}

/// The files of a folder, without `mod.rs`: their names and texts.
fn files(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(Path::new(SOURCES).join(folder)).expect("a folder of sources");
    let names = entries.map(|entry| entry.expect("a file").file_name());
    let names = names.filter_map(|name| Some(name.to_str()?.strip_suffix(".rs")?.to_owned()));
    names
        .filter(|name| name != "mod")
        .map(|name| {
            let file = Path::new(folder).join(format!("{name}.rs"));
            let text = read(file.to_str().expect("a plain name"));
            (name, text)
        })
        .collect()
}

/// The first names of all paths that begin with `root`, in groups as well.
fn uses<'a>(text: &'a str, root: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(root) {
        let path = &text[at + root.len()..];
        match path.strip_prefix('{') {
            Some(group) => found.extend(group_names(group)),
            None => found.push(word(path)),
        }
    }
    found
}

/// The first names of a group's paths: `{a, b::{c, d}}` has `a` and `b`.
fn group_names(group: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut depth = 1_usize;
    let mut start = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 || (depth == 1 && letter == ',');
        if ends {
            names.push(word(group[start..at].trim()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty() && *name != "self");
    names
}

fn word(path: &str) -> &str {
    let end = path.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &path[..end.unwrap_or(path.len())]
}

/// What of `used` is not on a floor below `user`.
fn not_below(floors: &BTreeMap<String, usize>, user: &str, used: Vec<&str>) -> Vec<String> {
    let floor = floors.get(user);
    let is_below = |name: &str| match (floors.get(name), floor) {
        (Some(lower), Some(floor)) => lower < floor,
        _ => false,
    };
    used.into_iter()
        .filter(|name| !is_below(name))
        .map(|name| format!("{user} imports {name}"))
        .collect()
}

const NONE: [&str; 0] = [];

#[test]
fn files_import_lower_floors_only() {
    let floors = floors();
    let wrong: Vec<String> = files("")
        .iter()
        .filter(|(name, _)| name != "lib" && name != "floors")
        .flat_map(|(name, text)| not_below(&floors, name, uses(text, "crate::")))
        .collect();
    assert_eq!(wrong, NONE);
}

#[test]
fn folders_import_lower_floors_only() {
    let floors = floors();
    for folder in ["extensions", "nginx"] {
        let wrong: Vec<String> = files(folder)
            .iter()
            .map(|(_, text)| text)
            .chain([&read(&format!("{folder}/mod.rs"))])
            .flat_map(|text| {
                let mut used = uses(text, "crate::");
                used.retain(|name| *name != folder);
                not_below(&floors, folder, used)
            })
            .collect();
        assert_eq!(wrong, NONE);
    }
}

#[test]
fn extensions_import_lower_ones_only() {
    let ranks = extensions();
    assert_eq!(ranks.len(), files("extensions").len());
    let wrong: Vec<String> = files("extensions")
        .iter()
        .flat_map(|(name, text)| not_below(&ranks, name, uses(text, "crate::extensions::")))
        .collect();
    assert_eq!(wrong, NONE);
}

#[test]
fn handles_import_earlier_ones_only() {
    let ranks = HANDLES
        .iter()
        .zip(0..)
        .map(|(name, rank)| (name.to_string(), rank));
    let ranks = ranks.collect();
    let wrong: Vec<String> = files("nginx")
        .iter()
        .filter(|(name, _)| name != "layout")
        .flat_map(|(name, text)| {
            let (text, _tests) = text
                .split_once("#[cfg(test)]\nmod tests")
                .unwrap_or((text, ""));
            let mut used = uses(text, "super::");
            // Of the folder itself.
            used.retain(|used| !["", "Abort"].contains(used));
            not_below(&ranks, name, used)
        })
        .collect();
    assert_eq!(wrong, NONE);
}

#[test]
fn an_arrow_up_is_found() {
    let floors = floors();
    assert_eq!(floors.get("read"), Some(&4));
    let text = "use crate::write::{self, fail};\nuse crate::{nginx, pipe::{self, run}};";
    assert_eq!(uses(text, "crate::"), ["write", "nginx", "pipe"]);
    let wrong = not_below(&floors, "read", uses(text, "crate::"));
    assert_eq!(wrong, ["read imports write", "read imports pipe"]);
    assert_eq!(
        not_below(&extensions(), "wide", vec!["memory"]),
        ["wide imports memory"]
    );
}
