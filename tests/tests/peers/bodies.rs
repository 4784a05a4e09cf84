//! What the upstreams serve: files whose sizes are those of nginx's buffers,
//! and around them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pipe_tests::random::Random;

/// One buffer and the eight of the default configuration; then what cannot be
/// kept in them.
pub(crate) const SIZES: [usize; 12] = [
    0, 1, 1023, 1024, 4095, 4096, 4097, 32767, 32768, 32769, 65537, LARGE,
];

/// More than all buffers on the way to a slow client hold.
pub(crate) const LARGE: usize = 6_000_011;

/// For many streams at once.
pub(crate) const MEDIUM: usize = 300_007;

/// The name of a body that compresses well.
pub(crate) const TEXT: &str = "text";

/// The name of a page with the bodies of [`PARTS`] in it.
pub(crate) const PAGE: &str = "page";

/// What [`PAGE`] includes, in that order.
pub(crate) const PARTS: [usize; 4] = [32769, MEDIUM, 0, 4096];

/// A folder of bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    dir: PathBuf,
}

impl Bodies {
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir(&dir)?;
        for size in SIZES.into_iter().chain([MEDIUM]) {
            let body = Random::new(size as u64).bytes(size);
            fs::write(dir.join(name(size)), body)?;
        }
        fs::write(dir.join(TEXT), text())?;
        fs::write(dir.join(PAGE), page())?;
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(name))
    }
}

/// The name of the body of that size.
pub(crate) fn name(size: usize) -> String {
    format!("body-{size}")
}

/// A megabyte that compresses to a small part of it.
fn text() -> String {
    (0..50_000)
        .map(|n| format!("line {n} of the text\n"))
        .collect()
}

fn page() -> String {
    PARTS
        .map(|size| format!("<!--# include virtual=\"/{}\" -->", name(size)))
        .concat()
}
