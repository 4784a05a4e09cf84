//! What a reader of the terminal gets of the rows, and other programs.

use serde_json::{Value, json};

use super::super::family::Side;
use super::super::json::rounded;
use super::super::statistics::{Spread, quantile};
use super::measure::{Measured, MeasuredSide, Plan, Round};
use super::{NAME, SIDES, TITLE, TOTAL};

/// One figure of a round.
struct Figure {
    title: &'static str,
    /// What other programs call it.
    key: &'static str,
    of: fn(&Round) -> Option<f64>,
}

const FIGURES: [Figure; 6] = [
    Figure {
        title: "wait p50, ms",
        key: "wait_p50_ms",
        of: |round| Some(quantile(&round.waits, 0.5)),
    },
    P99,
    Figure {
        title: "wait max, ms",
        key: "wait_max_ms",
        of: |round| Some(quantile(&round.waits, 1.0)),
    },
    Figure {
        title: "downloads, MB/s",
        key: "downloads_mb_per_second",
        of: |round| Some(round.rate),
    },
    Figure {
        title: "cycle p99.9, ms",
        key: "cycle_p999_ms",
        of: |round| round.cycle.map(|cycle| cycle.p999),
    },
    Figure {
        title: "cycle max, ms",
        key: "cycle_max_ms",
        of: |round| round.cycle.map(|cycle| cycle.longest),
    },
];

/// The one that the summary shows.
const P99: Figure = Figure {
    title: "wait p99, ms",
    key: "wait_p99_ms",
    of: |round| Some(quantile(&round.waits, 0.99)),
};

impl Figure {
    /// Of each round that has it.
    fn values(&self, side: &MeasuredSide) -> Vec<f64> {
        side.rounds.iter().filter_map(self.of).collect()
    }

    /// The median, and in brackets the ratio to stock.
    fn text(&self, measured: &Measured, side: &MeasuredSide) -> String {
        let values = self.values(side);
        if values.is_empty() {
            return "-".to_owned();
        }
        let median = Spread::of(&values).median;
        match self.to_stock(measured, side) {
            Some(ratio) if side.side != Side::Stock => format!("{median:.2} ({ratio:.2})"),
            _ => format!("{median:.2}"),
        }
    }

    fn to_stock(&self, measured: &Measured, side: &MeasuredSide) -> Option<f64> {
        let mut sides = measured.sides.iter();
        let stock = sides.find(|measured| measured.side == Side::Stock)?;
        let (values, base) = (self.values(side), self.values(stock));
        let both = !values.is_empty() && !base.is_empty();
        both.then(|| Spread::of_ratios(&values, &base).median)
    }
}

/// Prints how it is measured.
pub(crate) fn print_method(plan: Plan) {
    println!(
        "
== {NAME}: {TITLE}

All sides run in turn, {} rounds of {} ms each, and a new process for a round.
One client asks for a body of 1k again and again, on a connection that is kept.
It and its upstream go before all else on their core, so that it is the worker
that they wait for. Held downloads get {} MB/s in all, on all sides. Unbounded
is this pipe with event_pipe_max_chunk 0.

wait       from a request to the end of its response
downloads  what upstream sends for them
cycle      how long the worker does not look for events: from the return of
           epoll_wait() to its next call

Of each figure the median of the rounds, and in brackets the ratio to stock's
from rounds next to each other in time.",
        plan.rounds,
        plan.round.as_millis(),
        TOTAL / 1_000_000,
    );
}

/// Prints what one row gave.
pub(crate) fn print_row(measured: &Measured) {
    println!("\n{}: {}", measured.row, measured.row.traffic.title);
    let heads = FIGURES.map(|figure| format!("{:>18}", figure.title));
    println!("  {:<18}{}", "", heads.concat());
    for side in &measured.sides {
        let texts = FIGURES.map(|figure| format!("{:>18}", figure.text(measured, side)));
        println!("  {:<18}{}", side.side, texts.concat());
    }
}

/// Prints all rows in one table.
pub(crate) fn print_summary(all: &[Measured]) {
    println!("\nThe 99th percentile of what a small request waits, in ms:\n");
    let heads: String = SIDES.iter().map(|side| format!("{side:>18}")).collect();
    println!("  {:<16}{heads}", "");
    for measured in all {
        let column = |wanted: &Side| {
            let mut sides = measured.sides.iter();
            let side = sides.find(|side| side.side == *wanted);
            let text = side.map_or(String::new(), |side| P99.text(measured, side));
            format!("{text:>18}")
        };
        let columns: String = SIDES.iter().map(column).collect();
        println!("{}", format!("  {:<16}{columns}", measured.row).trim_end());
    }
}

/// What was measured, round by round.
pub(crate) fn json(measured: &Measured) -> Value {
    json!({
        "row": measured.row.to_string(),
        "title": measured.row.traffic.title,
        "sides": measured.sides.iter().map(side).collect::<Vec<_>>(),
    })
}

fn side(side: &MeasuredSide) -> Value {
    let mut object = json!({ "side": side.side.to_string() });
    for figure in FIGURES {
        let values = figure.values(side);
        object[figure.key] = values.iter().map(rounded).collect();
    }
    object
}
