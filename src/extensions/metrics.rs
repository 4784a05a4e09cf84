//! What the status shows: the name of each total, what it means, and where its value comes
//! from. (nginx has none.)
//!
//! Configurations and dashboards depend on every name.

#![forbid(unsafe_code)]

use crate::extensions::text::Unit;
use crate::extensions::totals::{ENDS, Histogram, Totals, name};
use crate::extensions::zones::{Loans, Summary};

/// A number, or a group of numbers, that the status shows under one name.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: Value,
}

/// How a metric gets its value from the totals, and what kind of value that is.
pub(crate) enum Value {
    /// One number, which only grows, and what it counts.
    Counter(Unit, fn(&Totals) -> u64),
    /// What the responses that are not over have now, and what it counts.
    Gauge(fn(&Summary) -> u64),
    /// Responses in buckets, by something that was measured of each response.
    Histogram(fn(&Totals) -> Histogram<'_>),
    /// How many responses had each end.
    Ends,
}

pub(crate) const METRICS: [Metric; 27] = [
    Metric {
        name: "responses",
        help: "Responses through the event pipe.",
        value: Value::Counter(Unit::One, |totals| totals.responses),
    },
    Metric {
        name: "received_bytes",
        help: "Bytes received from upstreams.",
        value: Value::Counter(Unit::One, |totals| totals.received),
    },
    Metric {
        name: "passed_bytes",
        help: "Bytes passed on to clients.",
        value: Value::Counter(Unit::One, |totals| totals.passed),
    },
    Metric {
        name: "spilled_responses",
        help: "Responses written to temporary files, in part or as a whole.",
        value: Value::Counter(Unit::One, |totals| totals.spilled_responses),
    },
    Metric {
        name: "spilled_bytes",
        help: "Bytes written to temporary files.",
        value: Value::Counter(Unit::One, |totals| totals.spilled),
    },
    Metric {
        name: "blocked_responses",
        help: "Responses whose upstream was held back.",
        value: Value::Counter(Unit::One, |totals| totals.blocked_responses),
    },
    Metric {
        name: "blocked_count",
        help: "Times that upstreams were held back.",
        value: Value::Counter(Unit::One, |totals| totals.blocked_count),
    },
    Metric {
        name: "blocked_seconds",
        help: "Time that upstreams were held back.",
        value: Value::Counter(Unit::Thousandth, |totals| totals.blocked_time),
    },
    Metric {
        name: "client_seconds",
        help: "Time that clients were waited for.",
        value: Value::Counter(Unit::Thousandth, |totals| totals.client_time),
    },
    Metric {
        name: "reads",
        help: "Reads from upstreams.",
        value: Value::Counter(Unit::One, |totals| totals.reads),
    },
    Metric {
        name: "writes",
        help: "Calls of the output filter.",
        value: Value::Counter(Unit::One, |totals| totals.writes),
    },
    Metric {
        name: "loans",
        help: "Buffers of workers received into.",
        value: Value::Counter(Unit::One, |totals| totals.loans),
    },
    Metric {
        name: "lent_bytes",
        help: "Bytes received into buffers of workers.",
        value: Value::Counter(Unit::One, |totals| totals.lent),
    },
    Metric {
        name: "cut_turns",
        help: "Turns that were cut short, or put off, for others of the worker to move.",
        value: Value::Counter(Unit::One, |totals| totals.cut_turns),
    },
    Metric {
        name: "queue_seconds",
        help: "Time that responses have waited for their turn.",
        value: Value::Counter(Unit::Thousandth, |totals| totals.queue_time),
    },
    Metric {
        name: "hindered_responses",
        help: "Responses that were spilled or whose upstream was held back.",
        value: Value::Counter(Unit::One, |totals| totals.hindered_responses),
    },
    Metric {
        name: "used_buffer_bytes",
        help: "Memory of the buffers that responses have allocated.",
        value: Value::Counter(Unit::One, |totals| totals.used_memory),
    },
    Metric {
        name: "allowed_buffers",
        help: "Buffers that responses might have allocated.",
        value: Value::Counter(Unit::One, |totals| totals.allowed_buffers),
    },
    Metric {
        name: "allowed_buffer_bytes",
        help: "Memory of the buffers that responses might have allocated.",
        value: Value::Counter(Unit::One, |totals| totals.allowed_memory),
    },
    Metric {
        name: "peak_bytes",
        help: "Most bytes of a response that have waited for the client.",
        value: Value::Histogram(Totals::peaks),
    },
    Metric {
        name: "buffers_used",
        help: "Buffers of a response in use, as a share of those configured.",
        value: Value::Histogram(Totals::shares),
    },
    Metric {
        name: "need_bytes",
        help: "Buffers with which a response is neither spilled nor held back.",
        value: Value::Histogram(Totals::needs),
    },
    Metric {
        name: "spill_client_seconds",
        help: "Time that the client of a spilled response was waited for.",
        value: Value::Histogram(Totals::spill_times),
    },
    Metric {
        name: "ends",
        help: "Responses by how they ended.",
        value: Value::Ends,
    },
    Metric {
        name: "active_responses",
        help: "Responses that are not over.",
        value: Value::Gauge(|summary| summary.active),
    },
    Metric {
        name: "disk_bytes",
        help: "Temporary files of responses that are not over.",
        value: Value::Gauge(|summary| summary.disk),
    },
    Metric {
        name: "lent_now_bytes",
        help: "Memory of workers that is lent to responses.",
        value: Value::Gauge(|summary| summary.lent),
    },
];

/// A number of all workers, whatever the zone.
pub(crate) struct WorkerMetric {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: fn(&Loans) -> u64,
}

pub(crate) const WORKER_METRICS: [WorkerMetric; 2] = [
    WorkerMetric {
        name: "loan_memory_bytes",
        help: "Memory that workers have for lending, lent or not.",
        value: |loans| loans.memory,
    },
    WorkerMetric {
        name: "loan_limit_bytes",
        help: "Memory that workers may have for lending.",
        value: |loans| loans.most,
    },
];

/// The name of each end, and how many responses had that end.
pub(crate) fn ends(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> {
    ENDS.into_iter().map(name).zip(totals.ends)
}
