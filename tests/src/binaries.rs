//! The two programs that the tests compare.

use std::env;
use std::io::{Error, Result};
use std::path::PathBuf;

use crate::build::{self, Pipe, Recipe, Source};

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
    both(Recipe::full)
}

/// The same, but with few modules and without pools: each allocation is one of
/// malloc()'s, and so can fail by itself.
pub fn without_pools() -> Result<Binaries> {
    both(|source, pipe| {
        let mut recipe = Recipe::new(source, pipe);
        recipe.configure = ["--with-threads", "--with-cc-opt=-DNGX_DEBUG_PALLOC=1"]
            .map(str::to_owned)
            .to_vec();
        Ok(recipe)
    })
}

fn both(recipe: impl Fn(&Source, Pipe) -> build::Result<Recipe>) -> Result<Binaries> {
    let binary = |variable, pipe| {
        if let Some(path) = env::var_os(variable) {
            return PathBuf::from(path).canonicalize();
        }
        let build = || recipe(&Source::from_env()?, pipe)?.build();
        Ok(build().map_err(Error::other)?.binary)
    };
    Ok(Binaries {
        stock: binary("NGX_STOCK", Pipe::Stock)?,
        ours: binary("NGX_OURS", Pipe::Rust)?,
    })
}
