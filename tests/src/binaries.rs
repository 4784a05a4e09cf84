//! The two programs that the tests compare.

use std::env;
use std::io::{Error, Result};
use std::path::PathBuf;

use crate::build::{self, Pipe, Recipe, Source};
use crate::checker::Checker;

/// nginx twice, from the same source with the same modules.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// With nginx's own pipe.
    pub stock: PathBuf,
    /// With this project's.
    pub ours: PathBuf,
}

/// Those that `NGX_STOCK` and `NGX_OURS` name, or else built for the occasion:
/// for a memory checker if the environment names one.
pub fn binaries() -> Result<Binaries> {
    match Checker::from_env()? {
        Some(checker) => named_or_built(|source, pipe| checker.recipe(source, pipe)),
        None => named_or_built(Recipe::full),
    }
}

/// The same, but with few modules and without pools: each allocation is one of
/// malloc()'s, and so can fail by itself.
pub fn without_pools() -> Result<Binaries> {
    named_or_built(|source, pipe| {
        let mut recipe = Recipe::new(source, pipe);
        recipe.configure = ["--with-threads", "--with-cc-opt=-DNGX_DEBUG_PALLOC=1"]
            .map(str::to_owned)
            .to_vec();
        Ok(recipe)
    })
}

/// Those for the memory checker that the environment names, else with the
/// sanitizers compiled in; always built.
pub fn checked_binaries() -> Result<Binaries> {
    let checker = Checker::from_env_or_sanitizers()?;
    let recipe = |source: &Source, pipe| checker.recipe(source, pipe);
    Ok(Binaries {
        stock: build(recipe, Pipe::Stock)?,
        ours: build(recipe, Pipe::Rust)?,
    })
}

/// The same as a server would run them: optimised, without what debugs.
pub fn optimised() -> Result<Binaries> {
    named_or_built(|source, pipe| {
        let mut recipe = Recipe::new(source, pipe);
        recipe.configure = source.known_options(&[
            "--with-cc-opt=-O2",
            "--with-threads",
            "--with-http_ssl_module",
            "--with-http_v2_module",
        ])?;
        Ok(recipe)
    })
}

fn named_or_built(recipe: impl Fn(&Source, Pipe) -> build::Result<Recipe>) -> Result<Binaries> {
    let binary = |variable, pipe| match env::var_os(variable) {
        Some(path) => PathBuf::from(path).canonicalize(),
        None => build(&recipe, pipe),
    };
    Ok(Binaries {
        stock: binary("NGX_STOCK", Pipe::Stock)?,
        ours: binary("NGX_OURS", Pipe::Rust)?,
    })
}

fn build(recipe: impl Fn(&Source, Pipe) -> build::Result<Recipe>, pipe: Pipe) -> Result<PathBuf> {
    let build = || recipe(&Source::from_env()?, pipe)?.build();
    Ok(build().map_err(Error::other)?.binary)
}
