//! The copy of the project that faults are planted in.

use std::fs;
use std::path::{Path, PathBuf};

use xshell::Shell;

use crate::Result;
use crate::project::{root, target};

/// A copy of the project.
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    /// Makes or renews the copy.
    pub(crate) fn copy() -> Result<Self> {
        let copied = target().join("planted/project");
        copy(&root(), &copied)?;
        Ok(Self { root: copied })
    }

    /// A shell in which cargo builds the copy: there, the same manifests are others.
    pub(crate) fn shell(&self, shell: &Shell) -> Shell {
        let shell = shell.clone();
        shell.change_dir(&self.root);
        shell.set_var("CARGO_TARGET_DIR", self.target());
        shell
    }

    /// Where cargo puts what it builds of the copy.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.with_file_name("target")
    }

    /// A file's text without a fault.
    pub(crate) fn original(&self, file: &str) -> Result<String> {
        let path = root().join(file);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Replaces a file of the copy.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.root.join(file), text)?)
    }
}

/// What is the same already stays untouched: cargo need not build it again.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            // What git and cargo keep there.
            if name == ".git" || name == "target" {
                continue;
            }
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let new = fs::read(from)?;
    if fs::read(to).ok().as_ref() != Some(&new) {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::write(to, new)?;
    }
    Ok(())
}
