//! What the programs behind `cargo xtask` take. The programs parse it, and
//! xtask parses it before: so its help is there when nothing is built yet.

use std::path::PathBuf;

use clap::Parser;

/// Builds nginx with this pipe and shows traffic through it
///
/// Builds nginx with the Rust event pipe, starts it on a free local port in
/// front of upstreams of its own (another nginx, uWSGI), and compares what comes
/// through the pipe with what the upstreams have.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask demo")]
pub struct Demo {
    /// Build this nginx tree (a release or a distribution's source) instead of
    /// the one in the nginx-src crate
    #[arg(long, value_name = "DIR")]
    pub nginx_source: Option<PathBuf>,
    /// Leave it running, to be tried with curl, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
}

/// Measures what a response costs: stock nginx, this pipe, HAProxy
///
/// Compares what a response costs nginx with its own event pipe and with this
/// project's: CPU time, system calls, memory, throughput. HAProxy, where it is
/// installed, is measured beside them. It only prints; no figure makes it fail.
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask bench",
    after_long_help = "\
The picture of the family \"plain\" goes to benches/results.svg.

NGX_STOCK and NGX_OURS name binaries to measure instead of those that are built:
the same one twice shows what the machine's noise alone makes of it."
)]
pub struct Bench {
    /// Fewer sizes and shorter rounds: about 3 minutes (all of it takes 25 to
    /// 40, on a machine with nothing else to do)
    #[arg(long)]
    pub quick: bool,
    /// Show as well what the worker spends its time on, by perf
    #[arg(long)]
    pub profile: bool,
    /// Measure only this family of cells (plain) or this cell (plain/57k); may
    /// be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Write what was measured, round by round
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print the families and cells instead of measuring them
    #[arg(long)]
    pub list: bool,
}

/// Runs nginx's own test suite on stock nginx and on nginx with this pipe
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask suite",
    after_long_help = "\
Environment:
  NGINX_TESTS           a checkout of the suite
  NGINX_SOURCE          the nginx tree to build (default: the nginx-src crate)
  NGX_STOCK, NGX_OURS   run these programs; build nothing"
)]
pub struct Suite {
    /// Fetch the suite at the pinned commit, and run that
    #[arg(long)]
    pub clone: bool,
    /// base (default), aio, aiosf, tiny, notmp, sendfile, http10, poll, select;
    /// may be given several times
    #[arg(long, value_name = "NAME")]
    pub variant: Vec<String>,
    /// Run all variants
    #[arg(long, conflicts_with = "variant")]
    pub all_variants: bool,
    /// Run these files (A.t,B.t), not all in which the pipe runs
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub files: Vec<String>,
    /// Run so many files at a time: they mostly wait, so that more of them than
    /// processors do no harm
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
}

/// Compares this pipe with stock's under random configurations and peers
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask compare",
    after_long_help = "NGX_STOCK and NGX_OURS name the programs; what they do not name is built."
)]
pub struct Compare {
    /// How many random cases (default: 1000, or no end with --minutes)
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// How many at a time
    #[arg(long, value_name = "J", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,
    /// The number of the first
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Begin no case after so many minutes
    #[arg(long, value_name = "M")]
    pub minutes: Option<u64>,
    /// Run the case in this file
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Show this case as a file has it
    #[arg(long, value_name = "N")]
    pub show: Option<u64>,
}
