//! A scenario on both sides, undisturbed and with all of its faults.

use std::fmt;
use std::io::{Error, Result};
use std::ops::AddAssign;

use super::fault::{Armed, Call};
use super::outcome::{Defect, Outcome, compare};
use super::scenario::Scenario;
use super::side::Side;
use crate::Binaries;

/// How many faults there were on each side, and how many of them showed a
/// defect of stock's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Injected {
    /// All.
    pub faults: usize,
    /// What had come before an error of upstream was left behind.
    pub d2: usize,
    /// What the output held was taken back when the client was lost.
    pub d3: usize,
}

impl AddAssign for Injected {
    fn add_assign(&mut self, more: Self) {
        self.faults += more.faults;
        self.d2 += more.d2;
        self.d3 += more.d3;
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, d2, d3 } = self;
        write!(
            f,
            "{faults} faults injected on each side; the sides differ in {d2} where stock leaves \
             behind what came before an error of upstream (D2), and in {d3} where it takes \
             other buffers once the client is lost (D3)"
        )
    }
}

/// Runs the scenario without a fault.
pub fn undisturbed(scenario: &Scenario, binaries: &Binaries) -> Result<()> {
    let mut pair = Pair::start(scenario, binaries)?;
    let (ours, _) = pair.run(None)?;
    if ours.answer.complete != scenario.is_whole() {
        return Err(Error::other(format!("{:?}", ours.answer)));
    }
    for (call, seen) in Call::ALL.into_iter().zip(ours.seen) {
        let is_counted = call != Call::Register;
        if is_counted && (seen > 0) != scenario.calls.contains(&call) {
            return Err(Error::other(format!("calls of kind {call}: {seen}")));
        }
    }
    pair.stop()
}

/// Fails each call of this kind in turn, in each way.
pub fn torment(scenario: &Scenario, call: Call, binaries: &Binaries) -> Result<Injected> {
    let mut pair = Pair::start(scenario, binaries)?;
    let (calm, _) = pair.run(None)?;
    let mut injected = Injected::default();
    for fault in call.faults() {
        for nth in 1.. {
            let of = |error| Error::other(format!("{call} {nth}: {fault}: {error}"));
            let (ours, defect) = pair.run(Some((fault, nth))).map_err(of)?;
            if !ours.fired {
                break;
            }
            if fault.is_harmless() && ours.answer != calm.answer {
                return Err(of(Error::other("the client gets something else")));
            }
            injected.faults += 1;
            injected.d2 += usize::from(defect == Some(Defect::D2));
            injected.d3 += usize::from(defect == Some(Defect::D3));
        }
    }
    pair.stop()?;
    match injected.faults {
        0 => Err(Error::other("no such call was there to fail")),
        _ => Ok(injected),
    }
}

/// Fails each call of this kind in turn, in each way, on ours with all that it
/// does beyond nginx. What comes of it must be right; how many faults there were.
pub fn torment_extended(scenario: &Scenario, call: Call, binaries: &Binaries) -> Result<usize> {
    let mut side = Side::extended(&binaries.ours, scenario)?;
    let calm = side.run(scenario, None)?;
    calm.check(scenario, None)?;
    if calm.answer.complete != scenario.is_whole() {
        return Err(Error::other(format!("{:?}", calm.answer)));
    }
    let mut faults = 0;
    for fault in call.faults() {
        for nth in 1.. {
            let of = |error| Error::other(format!("{call} {nth}: {fault}: {error}"));
            let outcome = side.run(scenario, Some((fault, nth))).map_err(of)?;
            outcome.check(scenario, Some(&fault)).map_err(of)?;
            if !outcome.fired {
                break;
            }
            if fault.is_harmless() && outcome.answer != calm.answer {
                return Err(of(Error::other("the client gets something else")));
            }
            faults += 1;
        }
    }
    side.stop()?;
    Ok(faults)
}

/// The scenario on both sides.
struct Pair<'a> {
    scenario: &'a Scenario,
    stock: Side,
    ours: Side,
}

impl<'a> Pair<'a> {
    fn start(scenario: &'a Scenario, binaries: &Binaries) -> Result<Self> {
        Ok(Self {
            scenario,
            stock: Side::stock(&binaries.stock, scenario)?,
            ours: Side::ours(&binaries.ours, scenario)?,
        })
    }

    /// What comes of it on ours, and the defect that stock shows.
    fn run(&mut self, armed: Option<Armed>) -> Result<(Outcome, Option<Defect>)> {
        let stock = self.stock.run(self.scenario, armed).map_err(of("stock"))?;
        let ours = self.ours.run(self.scenario, armed).map_err(of("ours"))?;
        let fault = armed.map(|(fault, _)| fault);
        ours.check(self.scenario, fault.as_ref())
            .map_err(of("ours"))?;
        let defect = compare(self.scenario, fault.as_ref(), &stock, &ours)?;
        Ok((ours, defect))
    }

    fn stop(self) -> Result<()> {
        self.stock.stop().map_err(of("stock"))?;
        self.ours.stop().map_err(of("ours"))
    }
}

/// Names the side that an error is of.
fn of(side: &str) -> impl Fn(Error) -> Error {
    move |error| Error::other(format!("{side}: {error}"))
}
