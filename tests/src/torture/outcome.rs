//! What came of a run, and whether that is right.

use std::fmt;
use std::io::{Error, Result};
use std::path::PathBuf;

use super::fault::{Call, Fault};
use super::scenario::Scenario;
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
    /// Checks what must hold whatever fails.
    pub(super) fn check(&self, scenario: &Scenario, fault: Option<&Fault>) -> Result<()> {
        let Self { answer, again, .. } = self;
        let body = scenario.reply.body.bytes();
        let is_own_page = answer.status >= 500;
        let is_whole = scenario.method == "HEAD" || answer.body == body;
        let may_delete = fault.is_none_or(|fault| fault.call != Call::Manage);
        let wrong: Vec<&str> = [
            (
                is_own_page || body.starts_with(&answer.body),
                "the client gets wrong bytes",
            ),
            (
                is_own_page || is_whole || !answer.complete,
                "the client takes a part for all",
            ),
            (answer.excess == 0, "something comes after the end"),
            (
                again.status == 200 && again.complete && again.body == body,
                "the next client does not get all",
            ),
            (
                self.stored.as_ref().is_none_or(|stored| *stored == body),
                "a part is stored",
            ),
            (self.leaked.is_empty(), "descriptors are left open"),
            (
                self.temp_files == 0 || !may_delete,
                "temporary files are left",
            ),
            (self.alerts(fault).next().is_none(), "there are alerts"),
        ]
        .into_iter()
        .filter_map(|(right, what)| (!right).then_some(what))
        .collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::other(format!(
                "{}; error log: {:#?}",
                wrong.join(", "),
                self.log
            ))),
        }
    }

    /// The alerts that do not tell of the fault itself.
    fn alerts(&self, fault: Option<&Fault>) -> impl Iterator<Item = &String> {
        let known = fault.map(Fault::logged).unwrap_or_default();
        self.log.iter().filter(move |line| {
            let is_alert = line.starts_with("[alert]") || line.starts_with("[emerg]");
            is_alert && !known.iter().any(|errno| line.contains(errno))
        })
    }
}

/// A defect of nginx's own pipe, for which it acts otherwise than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// It leaves behind what came before an error of upstream. Ours sends that.
    D2,
    /// When the client is lost, it takes back the buffers that the output still
    /// holds. Ours takes others.
    D3,
}

impl Defect {
    /// The one that may show.
    fn of(scenario: &Scenario, fault: Option<&Fault>, ours: &Outcome) -> Option<Self> {
        let call = fault.filter(|fault| !fault.is_harmless()).map(|f| f.call);
        let is_lost = matches!(call, Some(Call::Send | Call::ReadFile | Call::Allocate))
            || scenario.client_leaves();
        if scenario.reply.end == End::Reset || call == Some(Call::Receive) {
            Some(Self::D2)
        } else if is_lost && !ours.answer.complete {
            Some(Self::D3)
        } else {
            None
        }
    }

    /// Whether it explains a difference.
    fn explains(self, what: What, scenario: &Scenario, fault: Option<&Fault>) -> bool {
        let call = fault.map(|fault| fault.call);
        let lasts = fault.is_some_and(|fault| fault.later.is_some());
        match (self, what) {
            (_, What::Result) => false,
            (_, What::Calls) => true,
            (Self::D2, What::Amount | What::Access) => true,
            // Sending that may fail, unless the one fault is over by then.
            (Self::D2, What::Log) => call != Some(Call::Receive) || scenario.client_leaves(),
            (Self::D3, What::Amount) => false,
            // When there is no memory any more, each need of it shows.
            (Self::D3, What::Log | What::Access) => call == Some(Call::Allocate) && lasts,
        }
    }
}

/// What can differ between two outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// What the client is told first, what the next one gets, and what is left
    /// of the run.
    Result,
    /// How much the client gets.
    Amount,
    Log,
    Access,
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
    let is_known = |what| defect.is_some_and(|defect| defect.explains(what, scenario, fault));
    if differences.iter().all(|(what, _)| is_known(*what)) {
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
    let is_start = b.body.starts_with(&a.body);
    same(What::Result, "ours begins with stock's", &true, &is_start);
    same(What::Amount, "size", &a.body.len(), &b.body.len());
    same(What::Amount, "complete", &a.complete, &b.complete);
    same(What::Amount, "end", &a.ending, &b.ending);
    let is_same = stock.again == ours.again;
    same(What::Result, "next answer is the same", &true, &is_same);
    let is_same = stock.stored == ours.stored;
    same(What::Result, "stored file is the same", &true, &is_same);
    same(
        What::Result,
        "temporary files left",
        &stock.temp_files,
        &ours.temp_files,
    );
    same(What::Result, "left open", &stock.leaked, &ours.leaked);
    same(What::Result, "late", &stock.is_late, &ours.is_late);
    same(What::Log, "error log", &stock.log, &ours.log);
    same(What::Access, "access log", &stock.access, &ours.access);
    same(What::Calls, "failed", &stock.fired, &ours.fired);
    same(What::Calls, "calls", &stock.seen, &ours.seen);
    differences
}
