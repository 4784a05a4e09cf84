//! The demonstration behind `cargo xtask demo`: nginx with the Rust pipe, built,
//! started in front of real upstreams, and checked body by body.

mod client;
mod interrupt;
mod shows;
mod stage;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Parser;
use pipe_options::Demo as Options;
use pipe_tests::build::{Pipe, Recipe, Source};

use stage::{Front, Stage};

/// All that runs and all that lies on disk. Here, so that an interrupt finds
/// it: dropping it ends the processes and removes the files.
static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = interrupt::on_interrupt(strike)
        .map_err(Box::from)
        .and_then(|()| demonstrate(&options));
    strike();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes down whatever stands.
fn strike() {
    let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(stage);
}

fn demonstrate(options: &Options) -> Result<(), Box<dyn Error>> {
    let nginx = nginx(options)?;
    let front = set_up(&nginx)?;
    shows::run(&front)?;
    if options.keep {
        front.invite();
        loop {
            // Until the interrupt ends the process.
            thread::park();
        }
    }
    Ok(())
}

fn set_up(nginx: &Path) -> Result<Front, Box<dyn Error>> {
    // An interrupt waits for this, so that it finds either nothing or all.
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Front::of(stage.insert(stage::start(nginx)?)))
}

/// The program to show: `NGX_OURS`, else built from the source asked for.
fn nginx(options: &Options) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(binary) = env::var_os("NGX_OURS") {
        return Ok(binary.into());
    }
    let source = match &options.nginx_source {
        Some(tree) => Source::at(tree).map_err(|error| {
            let (tree, reason) = (tree.display(), error.reason);
            format!("{tree} is not a source tree of nginx: {reason}")
        })?,
        None => Source::from_env()?,
    };
    eprintln!("The first build of a source takes a few minutes.");
    // The recipe of the tests, so that they and this share a build.
    Ok(Recipe::full(&source, Pipe::Rust)?.build()?.binary)
}
