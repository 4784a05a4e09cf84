//! Whether this project's side is worse than stock's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::case::Case;
use super::outcome::{Finding, Outcome};

/// How many temporary files a response has open beyond stock's at most, as
/// docs/directives.md says (event_pipe_spill_segments).
const FILES: usize = 16;

/// What both sides did in the same number of runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// Under nginx's own pipe.
    pub stock: Vec<Outcome>,
    /// Under this project's.
    pub ours: Vec<Outcome>,
}

/// Something in which this project's side is worse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// It has something that stock's never has.
    Only(Finding),
    /// Of the response to a request that breaks, it delivers less than stock
    /// ever does: the most and the least.
    Less(usize, usize, usize),
    /// It has more temporary files open than is said.
    Files(usize),
}

impl Difference {
    /// Whether no speed of anybody excuses it.
    pub fn is_grave(&self) -> bool {
        matches!(self, Self::Only(finding) if finding.is_grave())
    }

    /// The kind, to tell whether two are alike.
    pub fn kind(&self) -> String {
        match self {
            Self::Only(Finding::Status(..)) => "another status".to_owned(),
            Self::Only(Finding::Header(..)) => "another header".to_owned(),
            Self::Only(finding) => finding.fault().unwrap_or_default(),
            Self::Less(..) => "less of a response that breaks".to_owned(),
            Self::Files(_) => "more temporary files than is said".to_owned(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(finding) => write!(f, "{finding}, never on stock"),
            Self::Less(nth, ours, stock) => {
                write!(
                    f,
                    "request {nth} gets {ours} bytes at most, {stock} at least on stock"
                )
            }
            Self::Files(count) => write!(f, "{count} temporary files are open"),
        }
    }
}

impl Runs {
    /// What shows in so many of the runs on this project's side and in none of
    /// stock's.
    pub fn differences(&self, case: &Case, times: usize) -> BTreeSet<Difference> {
        let stock: BTreeSet<&Finding> = self.stock.iter().flat_map(|one| &one.findings).collect();
        let mut counts: BTreeMap<&Finding, usize> = BTreeMap::new();
        for finding in self.ours.iter().flat_map(|one| &one.findings) {
            *counts.entry(finding).or_default() += 1;
        }
        let only = counts
            .into_iter()
            .filter(|(finding, count)| *count >= times && !stock.contains(finding))
            .filter(|(finding, _)| !self.waits_for_gzip(case, finding))
            .map(|(finding, _)| Difference::Only(finding.clone()));
        let less = (0..case.requests.len()).filter_map(|nth| self.less(case, nth));
        let most = |side: &[Outcome]| side.iter().map(|one| one.temp_files).max().unwrap_or(0);
        // Where it has no segments, each slice has a file on either side.
        let (least, most) = (most(&self.stock), most(&self.ours));
        let files = (most > least + FILES * responses(case)).then_some(Difference::Files(most));
        only.chain(less).chain(files).collect()
    }

    /// Only where the client takes all at once: what else it could have got when
    /// upstream breaks depends on its pace.
    fn less(&self, case: &Case, nth: usize) -> Option<Difference> {
        let request = &case.requests[nth];
        if case.is_sound(request) || request.leaves.is_some() || request.gulps.is_some() {
            return None;
        }
        let sizes = |side: &[Outcome]| -> Vec<usize> {
            side.iter()
                .filter_map(|one| one.sizes.get(nth).copied())
                .collect()
        };
        let ours = sizes(&self.ours).into_iter().max()?;
        let stock = sizes(&self.stock).into_iter().min()?;
        (ours < stock).then_some(Difference::Less(nth, ours, stock))
    }

    /// Of a page that breaks, stock has sent nothing; ours has sent what came before,
    /// with a part. Of any page that is cut after a part has begun, nginx leaves the end
    /// in the compressor, and waits for a client that has nothing to take.
    fn waits_for_gzip(&self, case: &Case, finding: &Finding) -> bool {
        let Finding::Hung(nth) = finding else {
            return false;
        };
        let request = &case.requests[*nth];
        let nothing = |one: &Outcome| one.sizes.get(*nth) == Some(&0);
        let has_parts = case.tree(request.location).len() > 1;

        request.gzip && has_parts && !case.is_sound(request) && self.stock.iter().all(nothing)
    }

    /// The names of the differences that are known and wanted.
    pub fn named(&self, case: &Case) -> Vec<&'static str> {
        let (Some(stock), Some(ours)) = (self.stock.last(), self.ours.last()) else {
            return Vec::new();
        };
        let named = NAMED
            .iter()
            .filter(|named| (named.shows)(case, stock, ours));
        named.map(|named| named.name).collect()
    }
}

fn responses(case: &Case) -> usize {
    let trees = case
        .requests
        .iter()
        .map(|request| case.tree(request.location));
    trees.map(|tree| tree.len()).sum()
}

/// A difference in which this project's side is not worse.
pub struct Named {
    /// What it is called.
    pub name: &'static str,
    /// Why it is wanted.
    pub reason: &'static str,
    shows: fn(&Case, &Outcome, &Outcome) -> bool,
}

/// All of them.
pub const NAMED: [Named; 5] = [
    Named {
        name: "whole only here",
        reason: "stock cuts, stops or closes what this pipe goes on with (docs/differences.md)",
        shows: |case, stock, ours| {
            let whole = case
                .requests
                .iter()
                .zip(stock.whole.iter().zip(&ours.whole));
            whole.into_iter().any(|(request, (stock, ours))| {
                request.leaves.is_none() && case.is_sound(request) && !stock && *ours
            })
        },
    },
    Named {
        name: "more of a response that breaks",
        reason: "what came before a reset or a breach is sent (docs/differences.md, \"Defects that \
                 are fixed\")",
        shows: |case, stock, ours| {
            let sizes = case
                .requests
                .iter()
                .zip(stock.sizes.iter().zip(&ours.sizes));
            sizes.into_iter().any(|(request, (stock, ours))| {
                request.leaves.is_none() && !case.is_sound(request) && ours > stock
            })
        },
    },
    Named {
        name: "several temporary files",
        reason: "a response is spilled to segments (docs/directives.md, \
                 event_pipe_spill_segments)",
        shows: |_, stock, ours| ours.temp_files > stock.temp_files,
    },
    Named {
        name: "waits with what the compressor holds",
        reason: "nginx does so with a page that is cut after a part has begun, of which stock \
                 has sent nothing",
        shows: |case, stock, ours| {
            let runs = Runs {
                stock: vec![stock.clone()],
                ours: Vec::new(),
            };
            let waits = |finding: &Finding| runs.waits_for_gzip(case, finding);
            ours.findings.iter().any(waits)
        },
    },
    Named {
        name: "errors only on stock",
        reason: "stock logs an error, and this pipe has none",
        shows: |_, stock, ours| {
            let is_error = |finding: &&Finding| matches!(finding, Finding::Log(_));
            stock
                .findings
                .difference(&ours.findings)
                .any(|finding| is_error(&finding))
        },
    },
];
