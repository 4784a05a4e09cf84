//! A copy of this project that a test may spoil.

use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::build::{copy, project};

/// All of the project that is not generated; gone when dropped.
#[derive(Debug)]
pub struct Project(TempDir);

impl Project {
    /// Copies it.
    pub fn copy() -> Result<Self> {
        let folder = TempDir::new()?;
        for entry in fs::read_dir(project())? {
            let entry = entry?;
            let name = entry.file_name();
            if name != "target" && name != ".git" {
                copy(&entry.path(), &folder.path().join(name))?;
            }
        }
        Ok(Self(folder))
    }

    /// Where the file or folder of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds to the end of a file.
    pub fn append(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path(file);
        let old = fs::read_to_string(&path)?;
        fs::write(path, old + text)
    }

    /// Replaces the one place in a file where it says `old`.
    pub fn replace(&self, file: &str, old: &str, new: &str) -> Result<()> {
        let path = self.path(file);
        let text = fs::read_to_string(&path)?;
        match text.matches(old).count() {
            1 => fs::write(path, text.replace(old, new)),
            count => Err(Error::other(format!("{count} times in {file}: {old}"))),
        }
    }
}
