//! Builds the nginx that the tests use and prints where its binary is.

use std::process::ExitCode;

use clap::Parser;
use pipe_tests::build::{Pipe, Recipe, Result, Source};

/// Builds the nginx that the tests use and prints where its binary is
#[derive(Parser)]
struct Options {
    /// With nginx's own pipe
    #[arg(long)]
    stock: bool,
    /// Without debug, threads and all else that the tests need
    #[arg(long)]
    plain: bool,
    /// More options for nginx's configure
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    configure: Vec<String>,
}

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
    let options = Options::parse();
    let pipe = match options.stock {
        true => Pipe::Stock,
        false => Pipe::Rust,
    };
    let source = Source::from_env()?;

    let mut recipe = if options.plain {
        Recipe::new(&source, pipe)
    } else {
        Recipe::full(&source, pipe)?
    };
    recipe.configure.extend(options.configure);

    Ok(recipe.build()?.binary.display().to_string())
}
