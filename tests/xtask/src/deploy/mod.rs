//! What brings the pipe to machines that are not a developer's: the release
//! archive, packages, and the proof that each works where it is meant to.

pub(crate) mod architectures;
mod chroot;
pub(crate) mod containers;
pub(crate) mod debian;
pub(crate) mod fresh;
mod large;
pub(crate) mod release;
mod site;
mod smoke;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// An empty folder, whatever was in it.
fn empty(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(folder.to_path_buf())
}
