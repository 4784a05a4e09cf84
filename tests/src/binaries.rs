//! The two programs that the tests compare.

use std::env;
use std::io::{Error, Result};
use std::path::PathBuf;

use crate::build::{Pipe, Recipe, Source};

/// nginx twice, from the same source with the same modules.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// With nginx's own pipe.
    pub stock: PathBuf,
    /// With this project's.
    pub ours: PathBuf,
}

/// Those that `NGX_STOCK` and `NGX_OURS` name, or else built for the occasion.
pub fn binaries() -> Result<Binaries> {
    Ok(Binaries {
        stock: binary("NGX_STOCK", Pipe::Stock)?,
        ours: binary("NGX_OURS", Pipe::Rust)?,
    })
}

fn binary(variable: &str, pipe: Pipe) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path).canonicalize();
    }
    let build = || Recipe::full(&Source::from_env()?, pipe)?.build();
    Ok(build().map_err(Error::other)?.binary)
}
