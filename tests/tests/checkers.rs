//! The memory checkers see what they are for: each test makes a fault, and
//! expects a report of it. `PIPE_CHECKER` is which checker, the sanitizers if
//! it is not set.

use std::io::{Error, Result};
use std::path::Path;

use pipe_tests::Stage;
use pipe_tests::build::{Built, Pipe, Source};
use pipe_tests::checker::Checker;
use pipe_tests::client::Manner;
use pipe_tests::project::Project;
use pipe_tests::traffic::cancel_with_frames_queued;
use pipe_tests::upstream::{Cuts, Hold, Protocol, Reply};
use tempfile::TempDir;

/// Of a response.
const SIZE: usize = 20_000;

/// An nginx with a fault in our pipe; gone when dropped.
struct Faulty {
    _dir: TempDir,
    built: Built,
}

impl Faulty {
    /// `file` of the library says `new` instead of `old`.
    fn build(file: &str, old: &str, new: &str) -> Result<Self> {
        let project = Project::copy()?;
        project.replace(file, old, new)?;
        let dir = TempDir::new()?;
        let build = || {
            let source = Source::from_env()?;
            let recipe = checker_in_use().recipe(&source, Pipe::Rust)?;
            recipe.relink(&recipe.build()?, dir.path(), &project)
        };
        let built = build().map_err(Error::other)?;
        Ok(Self { _dir: dir, built })
    }
}

fn checker_in_use() -> Checker {
    Checker::from_env_or_sanitizers().expect("PIPE_CHECKER is a checker")
}

/// What is reported of an nginx that passes one response on, which comes by
/// SCGI: its input filter is the pipe's own.
fn reports(binary: &Path, directives: &str, reply: Reply) -> Result<String> {
    let stage = Stage::start(binary, |conf| {
        conf.listen("");
        conf.pass("/", Protocol::Scgi, "scgi", directives);
    })?;
    stage.play("/", reply);
    stage.ask("/", Manner::FAST)?;
    Ok(stage.end()?.reports.concat())
}

fn expect(report: &str, texts: &[&str]) {
    for text in texts {
        assert!(report.contains(text), "{text} is not in: {report}");
    }
}

/// Defect D3 of nginx's own pipe, brought into ours.
#[test]
fn freed_memory_that_is_still_to_be_sent() -> Result<()> {
    let nginx = Faulty::build(
        "src/write.rs",
        "fn take_unsent<'p>(p: Pipe<'p>) -> Option<Link<'p>> {",
        "fn take_unsent<'p>(p: Pipe<'p>) -> Option<Link<'p>> {
             if let Some(chain) = p.busy() {
                 p.set_busy(None);
                 return Some(chain);
             }",
    )?;
    let (_, leftovers) = cancel_with_frames_queued(&nginx.built.binary)?;
    let freed = checker_in_use().use_after_free();
    expect(&leftovers.reports.concat(), &[freed, "read_upstream"]);
    Ok(())
}

/// A pointer is written behind the end of a chain link.
#[test]
fn a_write_behind_a_structure() -> Result<()> {
    let nginx = Faulty::build(
        "src/nginx/buf.rs",
        "&raw mut (*self.as_raw()).next",
        "&raw mut (*self.as_raw().wrapping_add(1)).next",
    )?;
    let error = match checker_in_use() {
        Checker::Sanitizers => "heap-buffer-overflow",
        Checker::Valgrind => "Invalid write",
    };
    // Several buffers at once are a chain.
    let report = reports(
        &nginx.built.binary,
        "scgi_buffers 8 4k;",
        Reply::random(71, SIZE),
    )?;
    expect(&report, &[error, "ngx_event_pipe_copy_input_filter"]);
    Ok(())
}

/// What nginx's own pipe does with such a limit, and ours does not.
#[test]
fn an_overflow_in_c() -> Result<()> {
    if checker_in_use() == Checker::Valgrind {
        eprintln!("skipped: valgrind knows nothing of undefined arithmetic");
        return Ok(());
    }
    let binaries = pipe_tests::checked_binaries()?;
    let directives = "scgi_limit_rate 9223372036854775807;";
    let mut reply = Reply::random(72, SIZE);
    // It takes more than a second: then the limit is multiplied by two.
    reply.cuts = Cuts::Every(SIZE / 5000, Hold::Moment);
    let stock = reports(&binaries.stock, directives, reply.clone())?;
    expect(&stock, &["signed integer overflow", "ngx_event_pipe.c"]);
    assert_eq!(reports(&binaries.ours, directives, reply)?, "");
    Ok(())
}
