//! Random configurations, output filters and peers, on stock and on this
//! project's nginx: never worse (see `pipe_tests::compare`). And cases that were.
//!
//! `PIPE_CASES` is how many cases are drawn at random, `PIPE_SEED` the first one's
//! number.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use pipe_tests::compare::{Campaign, Case, Options};

const DRAWN: u64 = 300;
const SEED: u64 = 1;

fn options() -> Result<Options> {
    Ok(Options {
        count: number("PIPE_CASES", DRAWN)?,
        jobs: 4,
        seed: number("PIPE_SEED", SEED)?,
        limit: None,
        folder: env::temp_dir().join("pipe-compare"),
    })
}

fn number(name: &str, default: u64) -> Result<u64> {
    let Ok(text) = env::var(name) else {
        return Ok(default);
    };
    let wrong = |error| Error::other(format!("{name}={text}: {error}"));
    text.parse().map_err(wrong)
}

#[test]
fn no_random_case_is_worse_than_on_stock() -> Result<()> {
    let summary = Campaign::new(pipe_tests::binaries()?, options()?)?.run();
    println!("{}", summary.text());
    for failure in &summary.failures {
        println!("{}", failure.text);
    }
    assert!(summary.kinds.is_empty() && summary.errors.is_empty());
    Ok(())
}

/// Each of these was once worse.
#[test]
fn nor_is_a_known_one() -> Result<()> {
    let campaign = Campaign::new(pipe_tests::binaries()?, options()?)?;
    let mut worse = Vec::new();
    for file in known()? {
        let (differences, _) = campaign.replay(&Case::read(&file)?)?;
        for difference in differences {
            worse.push(format!("{}: {difference}", file.display()));
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
    Ok(())
}

fn known() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/known");
    let entries = fs::read_dir(folder)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "case"));
    files.sort();
    match files.is_empty() {
        true => Err(Error::other("no known cases")),
        false => Ok(files),
    }
}
