//! What came of a run, and whether that is right.

use std::fmt::{self, Write as _};
use std::io::{Error, Result};
use std::path::PathBuf;

use super::fault::{Call, Fault};
use super::scenario::{Client, Scenario};
use crate::client::Answer;
use crate::upstream::End;

/// All that can be seen of a run from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What the client got.
    pub(super) answer: Answer,
    /// Whether something was open until timers expired.
    pub(super) is_late: bool,
    /// What the next client got, without a fault.
    pub(super) again: Answer,
    /// The lines of the error log, by kind.
    pub(super) log: Vec<String>,
    /// The lines of the access log.
    pub(super) access: String,
    /// The file that was stored.
    pub(super) stored: Option<Vec<u8>>,
    /// How many temporary files are left.
    pub(super) temp_files: usize,
    /// What is open that was not before.
    pub(super) leaked: Vec<PathBuf>,
    /// Whether there was a fault.
    pub(super) fired: bool,
    /// How many calls there were of each kind.
    pub(super) seen: [u32; Call::ALL.len()],
}

impl Outcome {
    /// Checks what must not come of any fault.
    pub(super) fn check(&self, scenario: &Scenario, fault: Option<&Fault>) -> Result<()> {
        let body = scenario.reply.body.bytes();
        let mut wrong = String::new();
        let mut require = |right: bool, what: &str| {
            if !right {
                let _ = writeln!(wrong, "{what}");
            }
        };
        let is_own_page = self.answer.status >= 500;
        require(
            is_own_page || body.starts_with(&self.answer.body),
            "wrong bytes",
        );
        require(
            is_own_page
                || !self.answer.complete
                || scenario.method == "HEAD"
                || self.answer.body == body,
            "a part of the body is said to be all",
        );
        require(self.answer.excess == 0, "bytes after the end");
        require(
            self.again.status == 200 && self.again.complete && self.again.body == body,
            "the next client does not get all",
        );
        require(
            self.stored.as_ref().is_none_or(|stored| *stored == body),
            "a part is stored",
        );
        require(self.leaked.is_empty(), "descriptors are left open");
        let may_stay = fault.is_some_and(|fault| fault.call == Call::Manage);
        require(self.temp_files == 0 || may_stay, "temporary files are left");
        let logged = fault.map(Fault::logged).unwrap_or_default();
        let is_known = |line: &str| logged.iter().any(|errno| line.contains(errno));
        require(
            self.log
                .iter()
                .all(|line| !is_alert(line) || is_known(line)),
            "alerts",
        );
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::other(wrong)),
        }
    }
}

/// A defect of nginx's own pipe, which makes it act otherwise than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// It leaves behind what came before an error of upstream.
    D2,
    /// It takes back buffers that the output still holds when the client is
    /// lost, and so needs memory for other things.
    D3,
}

impl Defect {
    /// The one that may show.
    fn of(scenario: &Scenario, fault: Option<&Fault>, ours: &Outcome) -> Option<Self> {
        let fault = fault.filter(|fault| !fault.is_harmless());
        let fails = |call| fault.is_some_and(|fault| fault.call == call);
        let loses_client = matches!(scenario.client, Client::Leaves(_))
            || [Call::Send, Call::ReadFile, Call::Allocate]
                .into_iter()
                .any(fails);
        if scenario.reply.end == End::Reset || fails(Call::Receive) {
            Some(Self::D2)
        } else if loses_client && !ours.answer.complete {
            Some(Self::D3)
        } else {
            None
        }
    }

    /// What of an outcome differs for that.
    fn explains(self, what: What, fault: Option<&Fault>) -> bool {
        match self {
            Self::D2 => what != What::Result,
            // Without memory, each call less is one failure less.
            Self::D3
                if fault
                    .is_some_and(|fault| fault.call == Call::Allocate && fault.later.is_some()) =>
            {
                matches!(what, What::Calls | What::Course)
            }
            Self::D3 => what == What::Calls,
        }
    }
}

/// What can differ between two outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// What is left of the run, and what the client is told first.
    Result,
    /// How much the client gets.
    Amount,
    /// What is logged meanwhile.
    Course,
    Calls,
}

/// Compares stock and ours. Nothing differs but for a defect, and that is
/// returned.
pub(super) fn compare(
    scenario: &Scenario,
    fault: Option<&Fault>,
    stock: &Outcome,
    ours: &Outcome,
) -> Result<Option<Defect>> {
    let differences = differences(stock, ours);
    if differences.is_empty() {
        return Ok(None);
    }
    let defect = Defect::of(scenario, fault, ours);
    let is_known = |what| defect.is_some_and(|defect| defect.explains(what, fault));
    if differences.iter().all(|(what, _)| is_known(*what))
        && ours.answer.body.starts_with(&stock.answer.body)
    {
        return Ok(defect);
    }
    let texts: Vec<String> = differences.into_iter().map(|(_, text)| text).collect();
    Err(Error::other(texts.join("\n")))
}

fn differences(stock: &Outcome, ours: &Outcome) -> Vec<(What, String)> {
    let mut differences = Vec::new();
    let mut same = |what, name: &str, stock: &dyn fmt::Debug, ours: &dyn fmt::Debug| {
        let (stock, ours) = (format!("{stock:?}"), format!("{ours:?}"));
        if stock != ours {
            differences.push((what, format!("{name}: stock {stock}, ours {ours}")));
        }
    };
    let (a, b) = (&stock.answer, &ours.answer);
    same(What::Result, "status", &a.status, &b.status);
    same(What::Result, "header", &a.headers, &b.headers);
    same(What::Amount, "size", &a.body.len(), &b.body.len());
    same(What::Amount, "complete", &a.complete, &b.complete);
    same(What::Amount, "end", &a.ending, &b.ending);
    let is_same = stock.again == ours.again;
    same(What::Course, "next answer is the same", &true, &is_same);
    let is_same = stock.stored == ours.stored;
    same(What::Result, "stored file is the same", &true, &is_same);
    same(
        What::Result,
        "temporary files left",
        &stock.temp_files,
        &ours.temp_files,
    );
    same(What::Result, "left open", &stock.leaked, &ours.leaked);
    same(What::Course, "late", &stock.is_late, &ours.is_late);
    same(What::Course, "error log", &stock.log, &ours.log);
    same(What::Course, "access log", &stock.access, &ours.access);
    same(What::Calls, "failed", &stock.fired, &ours.fired);
    same(What::Calls, "calls", &stock.seen, &ours.seen);
    differences
}

fn is_alert(line: &str) -> bool {
    ["[alert]", "[emerg]"]
        .iter()
        .any(|level| line.starts_with(level))
}
