//! Many cases, a few at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::case::Case;
use super::conf::Which;
use super::generate::generate;
use super::outcome::Outcome;
use super::shrink::smaller;
use super::side::Side;
use super::verdict::{Difference, NAMED, Runs};
use crate::Binaries;
use crate::peers::openssl::Certificate;
use crate::upstream::lock;

/// How many cases one nginx serves, one after the other.
const BATCH: u64 = 25;

/// How often a case that differs is repeated on both sides, at most, and how often
/// it has to differ in all.
const REPEATS: usize = 4;
const SHOWS: usize = 2;

/// The same where no speed excuses the difference.
const GRAVE_REPEATS: usize = 15;

/// How many more runs stock has, for what it may show as seldom as ours.
const EXCUSES: usize = 24;

/// How long making a case smaller may take.
const SHRINKING: Duration = Duration::from_secs(90);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many cases.
    pub count: u64,
    /// How many at a time.
    pub jobs: usize,
    /// The number of the first.
    pub seed: u64,
    /// After so long no more are begun.
    pub limit: Option<Duration>,
    /// Where cases that differ are written to.
    pub folder: PathBuf,
}

/// A case in which this project's side is worse.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Made small.
    pub case: Case,
    /// What differs.
    pub text: String,
    /// Where the case is.
    pub file: PathBuf,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many were run.
    pub cases: u64,
    /// How many differed, by the kind of the difference.
    pub kinds: BTreeMap<String, Vec<u64>>,
    /// One of each kind.
    pub failures: Vec<Failure>,
    /// How often each named difference showed.
    pub named: BTreeMap<&'static str, u64>,
    /// What was wrong with stock's side.
    pub stock: BTreeMap<String, Vec<u64>>,
    /// Differences that did not show again.
    pub once: BTreeMap<String, Vec<u64>>,
    /// What went wrong with the harness itself.
    pub errors: Vec<String>,
}

impl Summary {
    /// In words.
    pub fn text(&self) -> String {
        let mut text = format!("{} cases\n", self.cases);
        for named in NAMED {
            let count = self.named.get(named.name).copied().unwrap_or(0);
            text += &format!("named: {count:6} {}: {}\n", named.name, named.reason);
        }
        let list = |seeds: &[u64]| {
            let first: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
            first.join(" ")
        };
        for (kind, seeds) in &self.stock {
            text += &format!("on stock: {:6} {kind} ({})\n", seeds.len(), list(seeds));
        }
        for (kind, seeds) in &self.once {
            text += &format!(
                "not shown again: {:4} {kind} ({})\n",
                seeds.len(),
                list(seeds)
            );
        }
        text += &format!("{} errors of the harness\n", self.errors.len());
        for error in self.errors.iter().take(10) {
            text += &format!("harness: {error}\n");
        }
        for (kind, seeds) in &self.kinds {
            text += &format!("WORSE: {:6} {kind} ({})\n", seeds.len(), list(seeds));
        }
        text
    }
}

/// Runs cases on both sides.
#[derive(Debug)]
pub struct Campaign {
    binaries: Binaries,
    certificate: Certificate,
    _folder: TempDir,
    options: Options,
    summary: Mutex<Summary>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// Both nginx's, for some cases.
struct Pair {
    stock: Side,
    ours: Side,
}

impl Campaign {
    /// Prepares one.
    pub fn new(binaries: Binaries, options: Options) -> Result<Self> {
        let folder = TempDir::with_prefix("pipe-compare-")?;
        Ok(Self {
            binaries,
            certificate: Certificate::create(folder.path())?,
            _folder: folder,
            options,
            summary: Mutex::default(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// Runs all random cases.
    pub fn run(self) -> Summary {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.options.jobs {
                scope.spawn(|| self.work(start));
            }
        });
        self.summary
            .into_inner()
            .unwrap_or_else(|error| error.into_inner())
    }

    fn work(&self, start: Instant) {
        loop {
            let from = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let late = self
                .options
                .limit
                .is_some_and(|limit| start.elapsed() > limit);
            if from >= self.options.count || late || self.stop.load(Ordering::Relaxed) {
                return;
            }
            let to = (from + BATCH).min(self.options.count);
            let seed = self.options.seed;
            let cases: Vec<Case> = (from..to).map(|nth| generate(seed + nth)).collect();
            let mut rest = &cases[..];
            while !rest.is_empty() {
                match self.batch(rest) {
                    Ok(done) => rest = &rest[done..],
                    Err((done, error)) => {
                        let number = rest[done.min(rest.len() - 1)].number;
                        lock(&self.summary)
                            .errors
                            .push(format!("case {number}: {error}"));
                        rest = &rest[(done + 1).min(rest.len())..];
                    }
                }
            }
        }
    }

    /// Runs cases until one differs; how many were done.
    fn batch(&self, cases: &[Case]) -> std::result::Result<usize, (usize, Error)> {
        let mut pair = match self.pair(cases) {
            Ok(pair) => pair,
            // One of them may be to blame.
            Err(_) if cases.len() > 1 => return self.batch(&cases[..cases.len() / 2]),
            Err(error) => return Err((0, error)),
        };
        for (nth, case) in cases.iter().enumerate() {
            let runs = pair.run(nth, case).map_err(|error| (nth, error))?;
            let mut summary = lock(&self.summary);
            summary.cases += 1;
            for finding in runs.stock.iter().flat_map(|one| &one.findings) {
                if let Some(kind) = finding.fault() {
                    summary.stock.entry(kind).or_default().push(case.number);
                }
            }
            for name in runs.named(case) {
                *summary.named.entry(name).or_default() += 1;
            }
            drop(summary);
            let differences = runs.differences(case, 1);
            if !differences.is_empty() {
                drop(pair);
                self.suspect(case, runs).map_err(|error| (nth, error))?;
                return Ok(nth + 1);
            }
        }
        pair.stop().map_err(|error| (cases.len() - 1, error))?;
        Ok(cases.len())
    }

    fn pair(&self, cases: &[Case]) -> Result<Pair> {
        // Stock beside itself shows what comes of chance alone.
        let ours = match self.binaries.stock == self.binaries.ours {
            true => Which::Stock,
            false => Which::Ours,
        };
        let start = |which, binary| Side::start(which, binary, cases, &self.certificate);
        Ok(Pair {
            stock: start(Which::Stock, &self.binaries.stock)?,
            ours: start(ours, &self.binaries.ours)?,
        })
    }

    /// Runs a case by itself, so often at most, until it has differed so often
    /// that it counts.
    pub fn repeat(&self, case: &Case, mut runs: Runs, times: usize) -> Result<Runs> {
        for _ in 0..times {
            let pair = self.pair(std::slice::from_ref(case));
            let more = pair?.run(0, case)?;
            runs.stock.extend(more.stock);
            runs.ours.extend(more.ours);
        }
        Ok(runs)
    }

    /// Looks at a case again that has differed once.
    fn suspect(&self, case: &Case, runs: Runs) -> Result<()> {
        let first = runs.differences(case, 1);
        let grave = first.iter().any(Difference::is_grave);
        let mut runs = self.repeat(case, runs, REPEATS)?;
        for _ in REPEATS..GRAVE_REPEATS {
            if grave && runs.differences(case, SHOWS).is_empty() {
                runs = self.repeat(case, runs, 1)?;
            }
        }
        for _ in 0..EXCUSES {
            if !runs.differences(case, SHOWS).is_empty() {
                runs = self.repeat(case, runs, 1)?;
            }
        }
        let again: Vec<Difference> = runs.differences(case, SHOWS).into_iter().collect();
        let Some(difference) = again.first() else {
            let mut summary = lock(&self.summary);
            for difference in first {
                let seeds = summary.once.entry(difference.kind()).or_default();
                seeds.push(case.number);
            }
            let details = runs.ours.iter().flat_map(|one| &one.details).take(2);
            for detail in details {
                eprintln!("case {}, not shown again: {detail}", case.number);
            }
            return Ok(());
        };
        let kind = difference.kind();
        {
            let mut summary = lock(&self.summary);
            let seeds = summary.kinds.entry(kind.clone()).or_default();
            seeds.push(case.number);
            if seeds.len() > 1 {
                return Ok(());
            }
        }
        eprintln!("case {}: {difference}; making it smaller", case.number);
        let small = self.shrink(case, &kind);
        let failure = self.describe(small, &kind)?;
        eprintln!("{}", failure.text);
        lock(&self.summary).failures.push(failure);
        Ok(())
    }

    fn shrink(&self, case: &Case, kind: &str) -> Case {
        let start = Instant::now();
        let mut small = case.clone();
        'again: loop {
            for candidate in smaller(&small) {
                if start.elapsed() > SHRINKING {
                    return small;
                }
                if self.still_differs(&candidate, kind) {
                    small = candidate;
                    continue 'again;
                }
            }
            return small;
        }
    }

    /// Whether a case differs in this way in two of three runs; a case that
    /// cannot be run does not.
    fn still_differs(&self, case: &Case, kind: &str) -> bool {
        let mut runs = Runs::default();
        let differs = |runs: &Runs, times| {
            let differences = runs.differences(case, times);
            differences
                .iter()
                .any(|difference| difference.kind() == kind)
        };
        for nth in 0..3 {
            runs = match self.repeat(case, runs, 1) {
                Ok(runs) => runs,
                Err(_) => return false,
            };
            if nth == 1 && !differs(&runs, 1) {
                return false;
            }
        }
        differs(&runs, SHOWS)
    }

    fn describe(&self, case: Case, kind: &str) -> Result<Failure> {
        let runs = self.repeat(&case, Runs::default(), REPEATS)?;
        let mut text = String::new();
        for difference in runs.differences(&case, SHOWS) {
            text += &format!("{difference}\n");
        }
        let details = runs.ours.iter().flat_map(|one| &one.details).take(6);
        for detail in details {
            text += &format!("  {detail}\n");
        }
        text += &case.text();
        fs::create_dir_all(&self.options.folder)?;
        let word: String = kind
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        let file = self
            .options
            .folder
            .join(format!("{word}-{}.case", case.number));
        fs::write(&file, case.text())?;
        text += &format!("replay: --replay {}\n", file.display());
        Ok(Failure { case, text, file })
    }

    /// Runs a case as it is, some times; what differs.
    pub fn replay(&self, case: &Case) -> Result<(Vec<Difference>, Runs)> {
        let runs = self.repeat(case, Runs::default(), REPEATS + 1)?;
        Ok((runs.differences(case, SHOWS).into_iter().collect(), runs))
    }
}

impl Pair {
    /// Both sides at the same time.
    fn run(&mut self, nth: usize, case: &Case) -> Result<Runs> {
        let (stock, ours) = thread::scope(|scope| {
            let stock = scope.spawn(|| self.stock.run(nth, case));
            let ours = self.ours.run(nth, case);
            let stock = stock.join();
            (
                stock.unwrap_or_else(|_| Err(Error::other("it panicked"))),
                ours,
            )
        });
        let of = |side: &'static str| move |error| Error::other(format!("{side}: {error}"));
        let one =
            |outcome: Result<Outcome>, side| outcome.map(|outcome| vec![outcome]).map_err(of(side));
        Ok(Runs {
            stock: one(stock, "stock")?,
            ours: one(ours, "ours")?,
        })
    }

    fn stop(self) -> Result<()> {
        let of = |side: &'static str| move |error| Error::other(format!("{side}: {error}"));
        self.stock.stop().map_err(of("stock"))?;
        self.ours.stop().map_err(of("ours"))
    }
}
