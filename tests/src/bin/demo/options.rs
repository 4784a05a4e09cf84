//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// Also what `tests/demo --help` prints, before anything is installed or built.
pub(crate) const USAGE: &str = include_str!("usage.txt");

#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) nginx_source: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--nginx-source") => {
                    let dir = args.next().ok_or("--nginx-source takes a directory")?;
                    options.nginx_source = Some(dir.into());
                }
                Some("--keep") => options.keep = true,
                Some("--help" | "-h") => options.help = true,
                _ => return Err(format!("unknown argument {arg:?}")),
            }
        }
        Ok(options)
    }
}
