//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// Also what `benches/run --help` prints, before anything is installed or
/// built.
pub(crate) const USAGE: &str = include_str!("usage.txt");

#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) profile: bool,
    pub(crate) only: Vec<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--quick") => options.quick = true,
                Some("--profile") => options.profile = true,
                Some("--only") => {
                    let name = args.next().and_then(|name| name.into_string().ok());
                    options.only.push(name.ok_or("--only takes a name")?);
                }
                Some("--json") => {
                    let file = args.next().ok_or("--json takes a file")?;
                    options.json = Some(file.into());
                }
                Some("--list") => options.list = true,
                Some("--help" | "-h") => options.help = true,
                _ => return Err(format!("unknown argument {arg:?}")),
            }
        }
        Ok(options)
    }
}
