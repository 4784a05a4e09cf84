//! Memory checkers around the nginx processes under test: what they have to
//! report, each nginx writes below its prefix, and its end is not clean if
//! anything is there.
//!
//! `PIPE_CHECKER=sanitizers` has the tests build and use nginx with the address
//! and the undefined behaviour sanitizer, our library included;
//! `PIPE_CHECKER=valgrind` runs an ordinary build under valgrind. `cargo xtask
//! sanitize` does either.

use std::env;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{self, Pipe, Recipe, Source};

/// What the files with reports begin with.
const REPORTS: &str = "report";

/// What clang compiles and links with.
const SANITIZE: &str = "-fsanitize=address,undefined";

/// What is known of nginx itself.
const UNDEFINED: &str = include_str!("checker/undefined.txt");

/// A checker of all accesses to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// The sanitizers of clang and rustc: compiled in.
    Sanitizers,
    /// valgrind's memcheck.
    Valgrind,
}

impl Checker {
    /// What `PIPE_CHECKER` asks for.
    pub fn from_env() -> Result<Option<Self>> {
        match env::var("PIPE_CHECKER").as_deref() {
            Err(_) | Ok("") => Ok(None),
            Ok("sanitizers") => Ok(Some(Self::Sanitizers)),
            Ok("valgrind") => Ok(Some(Self::Valgrind)),
            Ok(other) => Err(Error::other(format!(
                "PIPE_CHECKER={other}: sanitizers or valgrind is needed"
            ))),
        }
    }

    /// What `PIPE_CHECKER` asks for, or the one that needs no other program.
    pub fn from_env_or_sanitizers() -> Result<Self> {
        Ok(Self::from_env()?.unwrap_or(Self::Sanitizers))
    }

    /// What its report on the use of freed memory contains.
    pub fn use_after_free(self) -> &'static str {
        match self {
            Self::Sanitizers => "heap-use-after-free",
            Self::Valgrind => "free'd",
        }
    }

    /// An nginx with all modules that the tests need, for this checker.
    pub fn recipe(self, source: &Source, pipe: Pipe) -> build::Result<Recipe> {
        let mut recipe = Recipe::full(source, pipe)?;
        // Without this, what is taken from a pool and given back to it stays
        // one block of memory.
        let palloc = "-DNGX_DEBUG_PALLOC=1";
        let cc_opt = match self {
            Self::Valgrind => palloc.to_owned(),
            Self::Sanitizers => {
                sanitize(&mut recipe)?;
                let known = known("undefined.txt");
                // Optimizing takes clang eight times as long as compiling.
                format!(
                    "{palloc} -O0 {SANITIZE} -fsanitize-ignorelist={}",
                    known.display()
                )
            }
        };
        recipe.configure.push(format!("--with-cc-opt={cc_opt}"));
        Ok(recipe)
    }
}

/// All but the flags of the C compiler.
fn sanitize(recipe: &mut Recipe) -> build::Result<()> {
    recipe.cc = "clang".into();
    recipe.configure.push(format!("--with-ld-opt={SANITIZE}"));
    recipe.env = [
        // The flag is not stable yet.
        ("RUSTC_BOOTSTRAP", "1"),
        // With the assertions go rustc's own checks of pointers.
        ("RUSTFLAGS", "-Zsanitizer=address -Cdebug-assertions"),
        // With a target named, the flags are not for build scripts.
        ("NGX_RUST_TARGET", &build::host()?),
        // Nobody reads it: a change of the list makes another build.
        ("KNOWN_UNDEFINED_BEHAVIOUR", UNDEFINED),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    Ok(())
}

/// The command that runs the nginx `binary`; reports go below `prefix`.
pub(crate) fn command(binary: &Path, prefix: &Path) -> Result<Command> {
    let reports = prefix.join(REPORTS);
    let reports = reports.display();
    let mut command = match Checker::from_env()? {
        Some(Checker::Valgrind) => {
            let mut command = Command::new("valgrind");
            command
                .args([
                    "--quiet",
                    "--leak-check=full",
                    "--show-leak-kinds=definite",
                    "--num-callers=30",
                ])
                .arg(format!("--log-file={reports}.%p"))
                .arg(format!(
                    "--suppressions={}",
                    known("valgrind.txt").display()
                ))
                .arg(binary);
            command
        }
        _ => Command::new(binary),
    };
    // Means nothing to a binary without sanitizers.
    command
        .env("ASAN_OPTIONS", format!("log_path={reports}:handle_abort=1"))
        .env(
            "LSAN_OPTIONS",
            format!(
                "suppressions={}:print_suppressions=0",
                known("leaks.txt").display()
            ),
        )
        .env("UBSAN_OPTIONS", "print_stacktrace=1");
    Ok(command)
}

/// The list, of that name, of what is known of nginx itself.
fn known(name: &str) -> PathBuf {
    build::project().join("tests/src/checker").join(name)
}

/// The reports of an nginx that has ended, of all its processes.
pub(crate) fn reports(prefix: &Path) -> Result<Vec<String>> {
    let mut reports = Vec::new();
    for entry in fs::read_dir(prefix)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(REPORTS) {
            let text = fs::read(entry.path())?;
            reports.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    reports.retain(|report| !report.is_empty());
    Ok(reports)
}
