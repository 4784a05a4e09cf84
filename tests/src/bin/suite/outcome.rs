//! What a file of the suite said, and what two sides' outcomes mean together.

use std::collections::BTreeSet;
use std::fmt;

/// How a file ended. Files differ when this differs in anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Subtests that ran, whatever their result.
    pub(crate) subtests: usize,
    /// Why the file was skipped as a whole.
    pub(crate) skipped: Option<String>,
    /// What went wrong: the failed subtests, or the end of the whole file.
    pub(crate) problems: BTreeSet<Problem>,
}

/// One thing that went wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    /// The subtest of this number is "not ok".
    Subtest(usize),
    /// The file did not end in time.
    Timeout,
    /// prove reports a failure that no single subtest accounts for: a wrong
    /// number of subtests, or a bad exit.
    Broken,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subtest(number) => write!(f, "{number}"),
            Self::Timeout => f.write_str("no end in time"),
            Self::Broken => f.write_str("broken off"),
        }
    }
}

/// The one word for an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Skip,
    Fail,
}

impl Outcome {
    /// Reads the output of `prove --verbose` on one file, and how prove ended
    /// (`None`: it had to be killed).
    pub(crate) fn read(tap: &str, prove_passed: Option<bool>) -> Self {
        let mut outcome = Self {
            subtests: 0,
            skipped: None,
            problems: BTreeSet::new(),
        };
        for line in tap.lines() {
            outcome.read_line(line);
        }
        match prove_passed {
            None => drop(outcome.problems.insert(Problem::Timeout)),
            Some(false) if outcome.problems.is_empty() => {
                outcome.problems.insert(Problem::Broken);
            }
            Some(_) => {}
        }
        outcome
    }

    fn read_line(&mut self, line: &str) {
        // Of a whole file, prove swallows the plan and says instead:
        if let Some((_, reason)) = line.split_once(".. skipped: ") {
            self.skipped = Some(reason.to_owned());
        }
        let (result, directive) = line.split_once(" # ").unwrap_or((line, ""));
        let (ok, rest) = match result.strip_prefix("not ") {
            Some(rest) => (false, rest),
            None => (true, result),
        };
        let Some(number) = rest
            .strip_prefix("ok ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
        else {
            return;
        };
        self.subtests += 1;
        if !ok && !directive.starts_with("TODO") {
            self.problems.insert(Problem::Subtest(number));
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if !self.problems.is_empty() {
            Verdict::Fail
        } else if self.skipped.is_some() {
            Verdict::Skip
        } else {
            Verdict::Pass
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict(), &self.skipped) {
            (Verdict::Fail, _) => {
                let problems: Vec<_> = self.problems.iter().map(Problem::to_string).collect();
                write!(f, "fail [{}] of {}", problems.join(" "), self.subtests)
            }
            (Verdict::Skip, Some(reason)) => write!(f, "skip ({reason})"),
            _ => write!(f, "pass {}", self.subtests),
        }
    }
}

/// What a difference between stock and ours comes to, after the retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Ours has, when run alone, a problem that stock never showed, or skips
    /// what stock runs.
    Worse,
    /// Stock showed every problem of ours too, in one run or another.
    Flake,
    /// Ours had a problem that stock did not show, but only in the crowd of
    /// the first run; alone it passed every time.
    Unconfirmed,
    /// Ours is as good as stock or better; what differs is counts.
    Harmless,
}

impl Judgement {
    /// A flake counts as one only where stock shows it, too.
    pub(crate) fn fails(self) -> bool {
        matches!(self, Self::Worse | Self::Unconfirmed)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worse => "WORSE than stock",
            Self::Flake => "a flake: stock shows it too",
            Self::Unconfirmed => "WORSE in the crowd: alone it passes, but stock never failed",
            Self::Harmless => "no worse than stock",
        })
    }
}

/// Judges all runs of one file; the first of each side is the one in the crowd.
pub(crate) fn judge(stock: &[Outcome], ours: &[Outcome]) -> Judgement {
    let shown: BTreeSet<_> = stock.iter().flat_map(|run| &run.problems).collect();
    let stock_skips = stock.iter().any(|run| run.skipped.is_some());
    let news = |run: &Outcome| {
        run.problems.iter().any(|problem| !shown.contains(problem))
            || (run.skipped.is_some() && !stock_skips)
    };
    let failed = |run: &Outcome| run.verdict() == Verdict::Fail;

    let (crowded, alone) = ours.split_at(ours.len().min(1));
    let stock_passes = stock.iter().any(|run| !failed(run));
    if alone.iter().any(news) {
        Judgement::Worse
    } else if stock_passes && !alone.is_empty() && alone.iter().all(failed) {
        // The same problem, but for ours it is the rule.
        Judgement::Worse
    } else if crowded.iter().any(news) {
        Judgement::Unconfirmed
    } else if ours.iter().any(failed) {
        Judgement::Flake
    } else {
        Judgement::Harmless
    }
}

#[cfg(test)]
mod tests {
    use super::{Judgement, Outcome, Problem, Verdict, judge};

    fn outcome(problems: &[usize]) -> Outcome {
        Outcome {
            subtests: 9,
            skipped: None,
            problems: problems.iter().map(|&n| Problem::Subtest(n)).collect(),
        }
    }

    #[test]
    fn reads_what_prove_prints() {
        let tap = "1..4\nok 1 - a\nnot ok 2 - b\nnot ok 3 - c # TODO later\nok 4 # skip no d\n";
        let read = Outcome::read(tap, Some(false));
        assert_eq!(read.subtests, 4);
        assert_eq!(read.problems, [Problem::Subtest(2)].into());
        assert_eq!(read.to_string(), "fail [2] of 4");
    }

    #[test]
    fn a_skipped_file_gives_its_reason() {
        let read = Outcome::read(
            "h3_headers.t .. skipped: no http_v3 available\n",
            Some(true),
        );
        assert_eq!(read.verdict(), Verdict::Skip);
        assert_eq!(read.to_string(), "skip (no http_v3 available)");
    }

    #[test]
    fn a_file_that_breaks_off_fails() {
        let tap = "1..4\nok 1 - a\n";
        let broken = Outcome::read(tap, Some(false));
        assert_eq!(broken.problems, [Problem::Broken].into());
        let endless = Outcome::read(tap, None);
        assert_eq!(endless.problems, [Problem::Timeout].into());
    }

    #[test]
    fn a_new_problem_in_a_retry_is_worse() {
        let stock = [outcome(&[1]), outcome(&[])];
        assert_eq!(
            judge(&stock, &[outcome(&[]), outcome(&[2])]),
            Judgement::Worse
        );
        assert_eq!(
            judge(&stock, &[outcome(&[1]), outcome(&[1])]),
            Judgement::Worse
        );
    }

    #[test]
    fn a_flake_is_one_only_if_stock_shows_it() {
        let flaky = [outcome(&[1]), outcome(&[])];
        assert_eq!(judge(&flaky, &flaky), Judgement::Flake);
        let good = [outcome(&[]), outcome(&[])];
        assert_eq!(judge(&good, &flaky), Judgement::Unconfirmed);
        assert!(Judgement::Unconfirmed.fails() && !Judgement::Flake.fails());
        assert_eq!(judge(&flaky, &good), Judgement::Harmless);
    }

    #[test]
    fn skipping_what_stock_runs_is_worse() {
        let skips = Outcome::read("proxy.t .. skipped: no proxy available\n", Some(true));
        let runs = [outcome(&[]), outcome(&[])];
        assert_eq!(
            judge(&runs, &[skips.clone(), skips.clone()]),
            Judgement::Worse
        );
        assert_eq!(
            judge(&[skips.clone(), skips.clone()], &runs),
            Judgement::Harmless
        );
    }
}
