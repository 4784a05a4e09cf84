//! How long a small request waits beside large downloads: whether a worker is
//! fair to all that it serves.

mod measure;
mod origin;
mod report;

use std::fmt;

use super::family::{Cell, Family, K, M, PLAIN, Side, Way};

pub(crate) use measure::{Measured, Plan, measure};
pub(crate) use report::{json, print_method, print_row, print_summary};

/// What the rows are called together.
pub(crate) const NAME: &str = "fair";
pub(crate) const TITLE: &str = "how long a small request waits beside large downloads";

/// The body of the small request.
const SMALL: u64 = K;

/// A body that does not end before its round does.
const ENDLESS: u64 = 1024 * 1024 * M;

/// What all downloads get in a second where that is held: every program can
/// give as much.
const TOTAL: u64 = 300_000_000;

/// What is beside the small request.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    /// The traffic of the downloads.
    traffic: Family,
    /// The size of a download, in bytes.
    size: u64,
    /// The bytes that upstream sends in a second, to all; none is as many as
    /// are read.
    total: Option<u64>,
}

const SIDES: &[Side] = &[Side::Stock, Side::Ours, Side::Unbounded, Side::Haproxy];

const NGINX_SIDES: &[Side] = &[Side::Stock, Side::Ours, Side::Unbounded];

/// Clients that read as fast as they can.
const fn downloads(name: &'static str, title: &'static str, clients: u64) -> Row {
    Row {
        name,
        traffic: Family {
            name: NAME,
            title,
            clients,
            sides: SIDES,
            ..PLAIN
        },
        size: ENDLESS,
        total: None,
    }
}

/// The same, but upstream holds them to one throughput on all sides.
const fn held(name: &'static str, title: &'static str, clients: u64) -> Row {
    Row {
        total: Some(TOTAL),
        ..downloads(name, title, clients)
    }
}

/// All that there is.
pub(crate) static ROWS: &[Row] = &[
    downloads("1", "1 download", 1),
    held("1-held", "1 download, held", 1),
    downloads("8", "8 downloads", 8),
    held("8-held", "8 downloads, held", 8),
    downloads("32", "32 downloads", 32),
    held("32-held", "32 downloads, held", 32),
    downloads("256", "256 downloads", 256),
    held("256-held", "256 downloads, held", 256),
    Row {
        name: "fill",
        traffic: Family {
            name: NAME,
            title: "32 cache fills, whose clients take 1 MiB/s each",
            way: Way::Cache,
            spills: true,
            pace: Some(M),
            clients: 32,
            sides: NGINX_SIDES,
            ..PLAIN
        },
        size: ENDLESS,
        total: None,
    },
    Row {
        name: "spill",
        traffic: Family {
            name: NAME,
            title: "32 downloads that spill: 4 MiB, for clients that take 16 MiB/s each",
            spills: true,
            pace: Some(16 * M),
            sndbuf: 128 * K,
            clients: 32,
            sides: SIDES,
            ..PLAIN
        },
        size: 4 * M,
        total: None,
    },
];

/// The rows of a quick run.
const QUICK: &[&str] = &["8", "8-held", "fill", "spill"];

impl Row {
    /// Whether it is what `--only` asks for by this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        name == NAME || name == self.to_string()
    }

    pub(crate) fn is_quick(&self) -> bool {
        QUICK.contains(&self.name)
    }

    fn download(&'static self) -> Cell {
        self.cell(self.size)
    }

    fn small(&'static self) -> Cell {
        self.cell(SMALL)
    }

    fn cell(&'static self, size: u64) -> Cell {
        Cell {
            family: &self.traffic,
            size,
        }
    }

    /// What upstream sends for each download in a second.
    fn pace(&self) -> Option<u64> {
        self.total.map(|total| total / self.traffic.clients)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{NAME}/{}", self.name))
    }
}
