//! A rate limit goes by a clock that nobody sets. (Set forward, a wall clock does
//! little harm to stock: it waits after each read for as long as that takes.)

use std::fs;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipe_tests::upstream::{Framing, Protocol, Reply};
use pipe_tests::{Binaries, binaries};
use tempfile::TempDir;

use crate::stage::{Outcome, Scene};

/// Bytes for each second begun.
const RATE: usize = 20_000;

/// How much the client has when the clock is set.
const BEFORE: usize = RATE / 2;

/// How long the client waits for the next bytes: several times what the limit
/// makes it wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// A wall clock that can be set.
struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let library = pipe_tests::build::shared_library("tests/time/clock.c")?;
        Ok(Self { folder, library })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Plays the scene, in the course of which the clock is set back by an hour.
    fn play(&self, scene: &Scene, binary: &Path) -> Result<Outcome> {
        let file = self.file();
        let mut scene = Scene::new(scene.protocol, scene.reply.clone(), &scene.directives);
        scene.patience = Some(PATIENCE);
        scene.env = vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("PIPE_CLOCK", file.clone().into()),
        ];
        scene.play_meanwhile(binary, |progress| {
            progress.wait_for_receipt(BEFORE, PATIENCE);
            fs::write(file, "-3600").expect("the folder is the test's own");
        })
    }
}

/// A response that takes as many seconds as this, but for the first one.
fn limited(seconds: usize) -> Scene {
    let mut reply = Reply::random(1, (seconds + 1) * RATE);
    reply.framing = Framing::Length;
    Scene::new(Protocol::Http, reply, &format!("@_limit_rate {RATE};"))
}

#[test]
fn a_clock_set_back_does_not_freeze_a_transfer() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let clock = Clock::new()?;
    let scene = limited(2);

    let error = clock.play(&scene, &stock).expect_err("stock freezes");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    fs::remove_file(clock.file())?;

    let outcome = clock.play(&scene, &ours)?;
    assert_eq!(outcome.answer.body, scene.reply.body.bytes());
    Ok(())
}
