//! Builds the nginx that the tests use and prints where its binary is.
//!
//! `nginx [--stock] [--plain] [CONFIGURE-OPTION...]`: with the Rust pipe unless
//! `--stock`; with debug, threads and all that the tests need unless `--plain`.

use std::env;
use std::process::ExitCode;

use pipe_tests::build::{Pipe, Recipe, Result, Source};

fn main() -> ExitCode {
    match build() {
        Ok(binary) => {
            println!("{binary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<String> {
    let mut options: Vec<String> = env::args().skip(1).collect();
    let mut take = |flag: &str| {
        let before = options.len();
        options.retain(|option| option != flag);
        options.len() != before
    };

    let pipe = if take("--stock") {
        Pipe::Stock
    } else {
        Pipe::Rust
    };
    let plain = take("--plain");
    let source = Source::from_env()?;

    let mut recipe = if plain {
        Recipe::new(&source, pipe)
    } else {
        Recipe::full(&source, pipe)?
    };
    recipe.configure.extend(options);

    Ok(recipe.build()?.binary.display().to_string())
}
