//! The status as Prometheus reads it: in the text format of Prometheus, and in that of
//! OpenMetrics. (nginx has none.)
//!
//! The responses without a zone are in the series without a label, so each series without
//! zones is as it is with them, and the sum over all series is the sum over all responses.

#![forbid(unsafe_code)]

use crate::extensions::metrics::{METRICS, Metric, Value, WORKER_METRICS, ends};
use crate::extensions::text::{Text, Unit};
use crate::extensions::totals::Histogram;
use crate::extensions::zones::{self, Loans, Summary};
use crate::nginx::Board;

/// Which of the two formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Prometheus,
    OpenMetrics,
}

/// The page that is being written.
struct Page<'t, 'm, 's> {
    text: &'t mut Text<'m>,
    dialect: Dialect,
    board: Board<'s>,
    zones: &'s [Summary],
}

/// Appends the status.
pub(crate) fn render(
    board: Board<'_>,
    zones: &[Summary],
    loans: &Loans,
    dialect: Dialect,
    text: &mut Text<'_>,
) {
    let mut page = Page {
        text,
        dialect,
        board,
        zones,
    };

    METRICS.iter().for_each(|metric| page.metric(metric));

    for metric in &WORKER_METRICS {
        page.head(metric.name, "gauge", metric.help);
        page.name(metric.name)
            .add(" ")
            .number((metric.value)(loans))
            .add("\n");
    }

    if dialect == Dialect::OpenMetrics {
        page.text.add("# EOF\n");
    }
}

impl<'m> Page<'_, 'm, '_> {
    fn metric(&mut self, metric: &Metric) {
        let name = metric.name;

        match metric.value {
            Value::Counter(unit, of) => {
                self.head(name, "counter", metric.help);
                self.each(|page, zone, summary| {
                    page.series(name, "_total", zone, "", "");
                    page.text.value(unit, of(&summary.totals)).add("\n");
                });
            }
            Value::Gauge(of) => {
                self.head(name, "gauge", metric.help);
                self.each(|page, zone, summary| {
                    page.series(name, "", zone, "", "");
                    page.text.number(of(summary)).add("\n");
                });
            }
            Value::Histogram(of) => {
                self.head(name, "histogram", metric.help);
                self.each(|page, zone, summary| page.histogram(name, zone, &of(&summary.totals)));
            }
            Value::Ends => {
                self.head(name, "counter", metric.help);
                self.each(|page, zone, summary| {
                    for (end, count) in ends(&summary.totals) {
                        page.series(name, "_total", zone, "reason", end);
                        page.text.number(count).add("\n");
                    }
                });
            }
        }
    }

    /// Writes the series of each zone that is shown.
    fn each(&mut self, mut write: impl FnMut(&mut Self, usize, &Summary)) {
        for (zone, summary) in self.zones.iter().enumerate() {
            if zones::is_shown(zone, summary) {
                write(self, zone, summary);
            }
        }
    }

    /// Appends the lines with a metric's help and type. OpenMetrics knows a counter by its
    /// name without `_total`, and wants to be told the unit.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let is_open = self.dialect == Dialect::OpenMetrics;
        let suffix = match kind {
            "counter" if !is_open => "_total",
            _ => "",
        };

        self.text.add("# HELP ");
        self.name(name).add(suffix).add(" ").add(help).add("\n");
        self.text.add("# TYPE ");
        self.name(name).add(suffix).add(" ").add(kind).add("\n");

        let mut units = ["bytes", "seconds"].into_iter();

        if let Some(unit) = units.find(|unit| is_open && name.ends_with(unit)) {
            self.text.add("# UNIT ");
            self.name(name).add(" ").add(unit).add("\n");
        }
    }

    /// Prometheus counts into each bucket also the responses of all buckets before it.
    fn histogram(&mut self, name: &str, zone: usize, histogram: &Histogram<'_>) {
        let mut responses: u64 = 0;

        for (limit, count) in histogram.buckets() {
            responses = responses.wrapping_add(count);

            if let Some(limit) = limit {
                self.labels(name, "_bucket", zone, "le");
                self.text.value(histogram.unit, limit);

                if self.dialect == Dialect::OpenMetrics && matches!(histogram.unit, Unit::One) {
                    self.text.add(".0");
                }

                self.text.add("\"} ").number(responses).add("\n");
            }
        }

        self.series(name, "_bucket", zone, "le", "+Inf");
        self.text.number(responses).add("\n");
        self.series(name, "_sum", zone, "", "");
        self.text.value(histogram.unit, histogram.sum).add("\n");
        self.series(name, "_count", zone, "", "");
        self.text.number(responses).add("\n");
    }

    /// Appends the name of a series, the label of its zone, another label unless its name
    /// is empty, and a space.
    fn series(&mut self, name: &str, suffix: &str, zone: usize, label: &str, value: &str) {
        if label.is_empty() && zone == zones::NONE {
            self.name(name).add(suffix).add(" ");
        } else if label.is_empty() {
            self.name(name).add(suffix).add("{");
            self.zone(zone);
            self.text.add("} ");
        } else {
            self.labels(name, suffix, zone, label);
            self.text.add(value).add("\"} ");
        }
    }

    /// Appends the name of a series and its labels up to the value of the last one.
    fn labels(&mut self, name: &str, suffix: &str, zone: usize, label: &str) {
        self.name(name).add(suffix).add("{");

        if zone != zones::NONE {
            self.zone(zone);
            self.text.add(",");
        }

        self.text.add(label).add("=\"");
    }

    fn zone(&mut self, zone: usize) {
        let text = &mut *self.text;

        zones::name(self.board, zone, |name| {
            _ = text.add("zone=\"").add(name).add("\"");
        });
    }

    /// Appends the name that Prometheus knows a metric by.
    fn name(&mut self, name: &str) -> &mut Text<'m> {
        self.text.add("nginx_event_pipe_").add(name)
    }
}
