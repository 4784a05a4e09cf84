//! The totals: the counts of the responses of all workers, which `event_pipe_status`
//! shows as JSON or for Prometheus. And the variables, which show the counts of one
//! response. (nginx has neither.)
//!
//! Configurations and dashboards depend on every name and on the form of the texts.

#![forbid(unsafe_code)]

use core::iter;

use crate::extensions::text::{Text, Unit};
use crate::nginx::End;

/// More bytes than either status text ever has, whatever the totals are.
pub(crate) const STATUS_LEN: usize = 8 * 1024;

/// More bytes than the text of any variable ever has.
pub(crate) const VARIABLE_LEN: usize = 32;

/// The counts of one response: when the response is over, or until now.
pub(crate) struct Response {
    /// Bytes received from upstream, framing included.
    pub(crate) received: u64,
    /// Bytes of the body given to the output filter.
    pub(crate) passed: u64,
    /// Bytes written to temporary files because the client was slow, not for a cache or
    /// store.
    pub(crate) spilled: u64,
    /// How many times upstream was held back.
    pub(crate) blocked_count: u64,
    /// For how long upstream was held back, in milliseconds.
    pub(crate) blocked_time: u64,
    /// For how long the client was waited for, in milliseconds.
    pub(crate) client_time: u64,
    /// Reads from upstream.
    pub(crate) reads: u64,
    /// Calls of the output filter.
    pub(crate) writes: u64,
    /// Reads into loans.
    pub(crate) loans: u64,
    /// Bytes received into loans.
    pub(crate) lent: u64,
    /// The most bytes of the worker's memory that were lent at a time.
    pub(crate) memory: u64,
    /// How many times the pipe has waited for its turn.
    pub(crate) cut_turns: u64,
    /// For how long the pipe has waited for its turn, in milliseconds.
    pub(crate) queue_time: u64,
    /// The most bytes that have waited for the client at a time.
    pub(crate) peak: u64,
    /// Raw buffers that were allocated.
    pub(crate) buffers: u64,
    /// Raw buffers that may be allocated.
    pub(crate) buffers_max: u64,
    /// How the response has ended.
    pub(crate) end: End,
}

/// The totals: the counts of all responses that are over, of all workers together, in
/// shared memory. All fields start as zero. A total that exceeds 64 bits starts again
/// from zero.
#[repr(C)]
#[cfg_attr(test, derive(Debug, Default, PartialEq))]
pub(crate) struct Totals {
    responses: u64,
    received: u64,
    passed: u64,
    spilled_responses: u64,
    spilled: u64,
    blocked_responses: u64,
    blocked_count: u64,
    /// In milliseconds.
    blocked_time: u64,
    /// In milliseconds.
    client_time: u64,
    reads: u64,
    writes: u64,
    loans: u64,
    lent: u64,
    cut_turns: u64,
    /// In milliseconds.
    queue_time: u64,
    peak: u64,
    /// How many responses had a peak up to each of [`PEAK_LIMITS`] and above the limit
    /// before; the last number is of those above all limits.
    peaks: [u64; PEAK_LIMITS.len() + 1],
    /// The sum of the responses' shares, each in thousandths: buffers that were
    /// allocated, as a part of those that may be.
    share: u64,
    /// How many responses had a share up to each of [`SHARE_LIMITS`] and above the
    /// limit before.
    shares: [u64; SHARE_LIMITS.len()],
    /// How many responses had each end, in the order of [`ENDS`].
    ends: [u64; ENDS.len()],
}

/// The limits of peaks, in bytes: 0, 1k, 2k, 4k, ... 1g.
const PEAK_LIMITS: [u64; 22] = [
    0, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
    4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824,
];

/// The limits of shares, in thousandths: none of the buffers, one eighth, two, ... all.
const SHARE_LIMITS: [u64; 9] = [0, 125, 250, 375, 500, 625, 750, 875, 1000];

/// All ends, each at the index that is its number.
const ENDS: [End; 8] = [
    End::Aborted,
    End::Complete,
    End::UpstreamClosed,
    End::UpstreamError,
    End::UpstreamTimeout,
    End::ClientError,
    End::ClientTimeout,
    End::InternalError,
];

impl Totals {
    /// Adds the counts of a response that is over.
    pub(crate) fn add(&mut self, response: &Response) {
        increase(&mut self.responses, 1);
        increase(&mut self.received, response.received);
        increase(&mut self.passed, response.passed);
        increase(&mut self.spilled_responses, (response.spilled != 0).into());
        increase(&mut self.spilled, response.spilled);
        increase(
            &mut self.blocked_responses,
            (response.blocked_count != 0).into(),
        );
        increase(&mut self.blocked_count, response.blocked_count);
        increase(&mut self.blocked_time, response.blocked_time);
        increase(&mut self.client_time, response.client_time);
        increase(&mut self.reads, response.reads);
        increase(&mut self.writes, response.writes);
        increase(&mut self.loans, response.loans);
        increase(&mut self.lent, response.lent);
        increase(&mut self.cut_turns, response.cut_turns);
        increase(&mut self.queue_time, response.queue_time);
        increase(&mut self.peak, response.peak);
        increase_one(&mut self.peaks, peak_bucket(response.peak));

        let (buffers, max) = (response.buffers, response.buffers_max);
        increase(&mut self.share, share(buffers, max));
        increase_one(&mut self.shares, share_bucket(buffers, max));
        increase_one(&mut self.ends, response.end as usize);
    }
}

fn increase(total: &mut u64, by: u64) {
    *total = total.wrapping_add(by);
}

fn increase_one(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        increase(count, 1);
    }
}

/// The index in `peaks` of a response with this peak.
fn peak_bucket(peak: u64) -> usize {
    PEAK_LIMITS
        .iter()
        .position(|limit| peak <= *limit)
        .unwrap_or(PEAK_LIMITS.len())
}

/// `buffers` as a part of `max`, in thousandths, rounded down; 0 if `max` is 0.
fn share(buffers: u64, max: u64) -> u64 {
    buffers.saturating_mul(1000).checked_div(max).unwrap_or(0)
}

/// The index in `shares` of a response that has allocated `buffers` of `max` raw
/// buffers: the eighths of `max` that `buffers` are, rounded up.
fn share_bucket(buffers: u64, max: u64) -> usize {
    const ALL: u64 = SHARE_LIMITS.len() as u64 - 1;

    buffers
        .saturating_mul(ALL)
        .saturating_add(max.saturating_sub(1))
        .checked_div(max)
        .map_or(0, |eighths| eighths.min(ALL) as usize)
}

/// The name of an end, as in `$event_pipe_end`.
fn name(end: End) -> &'static str {
    match end {
        End::Aborted => "aborted",
        End::Complete => "complete",
        End::UpstreamClosed => "upstream_closed",
        End::UpstreamError => "upstream_error",
        End::UpstreamTimeout => "upstream_timeout",
        End::ClientError => "client_error",
        End::ClientTimeout => "client_timeout",
        End::InternalError => "internal_error",
    }
}

/// Appends the value of the variable with this number: `$event_pipe_spilled` is 0, the
/// others follow in the order of the table in `docs/metrics.md`. Appends nothing for
/// other numbers.
pub(crate) fn variable(response: &Response, number: usize, text: &mut Text<'_>) {
    match number {
        0 => text.number(response.spilled),
        1 => text.number(response.peak),
        2 => text.number(response.buffers),
        3 => text.number(response.buffers_max),
        4 => text.number(response.blocked_count),
        5 => text.value(Unit::Thousandth, response.blocked_time),
        6 => text.value(Unit::Thousandth, response.client_time),
        7 => text.number(response.reads),
        8 => text.number(response.writes),
        9 => text.add(name(response.end)),
        10 => text.number(response.memory),
        _ => text,
    };
}

/// Whether the variable with this number is a time, which grows between two turns as
/// well.
pub(crate) fn is_time(number: usize) -> bool {
    matches!(number, 5 | 6)
}

/// A number, or a group of numbers, that the status shows under one name.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: Value,
}

/// How a metric gets its value from the totals, and what kind of value that is.
enum Value {
    /// One number, which only grows, and what it counts.
    Counter(Unit, fn(&Totals) -> u64),
    /// Responses in buckets, by something that was measured of each response.
    Histogram(fn(&Totals) -> Histogram<'_>),
    /// How many responses had each end.
    Ends,
}

/// Responses in buckets, by something that was measured of each response.
struct Histogram<'t> {
    /// The unit of the limits and of the sum.
    unit: Unit,
    limits: &'static [u64],
    /// How many responses measured up to each limit and above the limit before. If
    /// there is one number more than there are limits, the last is of the responses
    /// above all limits.
    counts: &'t [u64],
    /// The sum of what was measured of all responses.
    sum: u64,
}

const METRICS: [Metric; 18] = [
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
        name: "peak_bytes",
        help: "Most bytes of a response that have waited for the client.",
        value: Value::Histogram(|totals| Histogram {
            unit: Unit::One,
            limits: &PEAK_LIMITS,
            counts: &totals.peaks,
            sum: totals.peak,
        }),
    },
    Metric {
        name: "buffers_used",
        help: "Buffers of a response in use, as a share of those configured.",
        value: Value::Histogram(|totals| Histogram {
            unit: Unit::Thousandth,
            limits: &SHARE_LIMITS,
            counts: &totals.shares,
            sum: totals.share,
        }),
    },
    Metric {
        name: "ends",
        help: "Responses by how they ended.",
        value: Value::Ends,
    },
];

/// The form of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `text/plain; version=0.0.4`, as Prometheus reads it.
    Prometheus,
}

/// Appends the status in a format, at most [`STATUS_LEN`] bytes.
pub(crate) fn render(totals: &Totals, format: Format, text: &mut Text<'_>) {
    match format {
        Format::Json => json(totals, text),
        Format::Prometheus => prometheus(totals, text),
    }
}

fn json(totals: &Totals, text: &mut Text<'_>) {
    let mut before = "{\n  \"";

    for metric in &METRICS {
        text.add(before).add(metric.name).add("\": ");
        before = ",\n  \"";

        match metric.value {
            Value::Counter(unit, of) => _ = text.value(unit, of(totals)),
            Value::Histogram(of) => json_histogram(&of(totals), text),
            Value::Ends => json_ends(totals, text),
        }
    }

    text.add("\n}\n");
}

fn json_histogram(histogram: &Histogram<'_>, text: &mut Text<'_>) {
    text.add("{\n    \"sum\": ")
        .value(histogram.unit, histogram.sum)
        .add(",\n    \"responses\": {");

    let mut before = "\"";

    for (limit, count) in histogram.buckets() {
        text.add(before);
        before = ", \"";

        match limit {
            Some(limit) => text.value(histogram.unit, limit),
            None => text.add("more"),
        };

        text.add("\": ").number(count);
    }

    text.add("}\n  }");
}

fn json_ends(totals: &Totals, text: &mut Text<'_>) {
    let mut before = "{\"";

    for (end, count) in ends(totals) {
        text.add(before).add(end).add("\": ").number(count);
        before = ", \"";
    }

    text.add("}");
}

fn prometheus(totals: &Totals, text: &mut Text<'_>) {
    for metric in &METRICS {
        match metric.value {
            Value::Counter(unit, of) => {
                metric.head("_total", "counter", text);
                metric.line("_total ", text);
                text.value(unit, of(totals)).add("\n");
            }
            Value::Histogram(of) => {
                metric.head("", "histogram", text);
                prometheus_histogram(metric, &of(totals), text);
            }
            Value::Ends => {
                metric.head("_total", "counter", text);
                prometheus_ends(metric, totals, text);
            }
        }
    }
}

/// Prometheus counts into each bucket also the responses of all buckets before it.
fn prometheus_histogram(metric: &Metric, histogram: &Histogram<'_>, text: &mut Text<'_>) {
    let mut responses: u64 = 0;

    for (limit, count) in histogram.buckets() {
        responses = responses.wrapping_add(count);

        if let Some(limit) = limit {
            metric.line("_bucket{le=\"", text);
            text.value(histogram.unit, limit).add("\"} ");
            text.number(responses).add("\n");
        }
    }

    metric.line("_bucket{le=\"+Inf\"} ", text);
    text.number(responses).add("\n");
    metric.line("_sum ", text);
    text.value(histogram.unit, histogram.sum).add("\n");
    metric.line("_count ", text);
    text.number(responses).add("\n");
}

fn prometheus_ends(metric: &Metric, totals: &Totals, text: &mut Text<'_>) {
    for (end, count) in ends(totals) {
        metric.line("_total{reason=\"", text);
        text.add(end).add("\"} ").number(count).add("\n");
    }
}

impl Metric {
    /// Appends the lines with the metric's help and type, for Prometheus.
    fn head(&self, suffix: &str, kind: &str, text: &mut Text<'_>) {
        text.add("# HELP ");
        self.line(suffix, text);
        text.add(" ").add(self.help).add("\n");

        text.add("# TYPE ");
        self.line(suffix, text);
        text.add(" ").add(kind).add("\n");
    }

    /// Appends the name that Prometheus knows the metric by, and then `rest`.
    fn line(&self, rest: &str, text: &mut Text<'_>) {
        text.add("nginx_event_pipe_").add(self.name).add(rest);
    }
}

impl Histogram<'_> {
    /// The limit of each bucket, and how many responses are in it. The last bucket may
    /// have no limit.
    fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let limits = self.limits.iter().copied().map(Some);

        limits
            .chain(iter::repeat(None))
            .zip(self.counts.iter().copied())
    }
}

/// The name of each end, and how many responses had that end.
fn ends(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> {
    ENDS.into_iter().map(name).zip(totals.ends)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::array;

    use super::*;

    const RESPONSE: Response = Response {
        received: 5000,
        passed: 4000,
        spilled: 3000,
        blocked_count: 2,
        blocked_time: 1007,
        client_time: 12,
        reads: 40,
        writes: 30,
        loans: 3,
        lent: 900,
        memory: 524_288,
        cut_turns: 4,
        queue_time: 5,
        peak: 2049,
        buffers: 3,
        buffers_max: 8,
        end: End::Complete,
    };

    /// A different number in almost every field, with the largest and the smallest.
    fn different() -> Totals {
        Totals {
            responses: 1000,
            received: u64::MAX,
            passed: 20_001,
            spilled_responses: 0,
            spilled: 4096,
            blocked_responses: 50,
            blocked_count: 60,
            blocked_time: 7,
            client_time: 1_234_567,
            reads: 70,
            writes: 80,
            loans: 90,
            lent: 1_048_576,
            cut_turns: 95,
            queue_time: 6004,
            peak: 123_456_789,
            peaks: array::from_fn(|index| 100 + index as u64),
            share: 1050,
            shares: array::from_fn(|index| 200 + index as u64),
            ends: array::from_fn(|index| 10 + index as u64),
        }
    }

    /// The same number in all fields.
    fn all(number: u64) -> Totals {
        Totals {
            responses: number,
            received: number,
            passed: number,
            spilled_responses: number,
            spilled: number,
            blocked_responses: number,
            blocked_count: number,
            blocked_time: number,
            client_time: number,
            reads: number,
            writes: number,
            loans: number,
            lent: number,
            cut_turns: number,
            queue_time: number,
            peak: number,
            peaks: [number; 23],
            share: number,
            shares: [number; 9],
            ends: [number; 8],
        }
    }

    fn added(responses: &[Response]) -> Totals {
        let mut totals = Totals::default();
        responses.iter().for_each(|response| totals.add(response));
        totals
    }

    fn written(size: usize, write: impl FnOnce(&mut Text<'_>)) -> String {
        let mut memory = vec![b'?'; size];
        let mut text = Text::new(&mut memory);
        write(&mut text);
        let len = text.len();
        memory.truncate(len);
        String::from_utf8(memory).unwrap()
    }

    fn status(totals: &Totals, format: Format) -> String {
        written(1 << 20, |text| render(totals, format, text))
    }

    fn variables(response: &Response) -> Vec<String> {
        let variable = |number| written(1 << 20, |text| variable(response, number, text));
        (0..11).map(variable).collect()
    }

    #[test]
    fn totals_do_not_wrap_at_4_gib() {
        let bytes: u64 = 3 << 30;
        let mut totals = Totals::default();

        for _ in 0..2 {
            totals.add(&Response {
                received: bytes,
                passed: bytes,
                spilled: bytes,
                lent: bytes,
                peak: bytes,
                ..RESPONSE
            });
        }

        let sums = [
            totals.received,
            totals.passed,
            totals.spilled,
            totals.lent,
            totals.peak,
        ];
        assert_eq!(sums, [6 << 30; 5]);
    }

    /// The texts in `golden` are those of the first version, which was written in C, and
    /// of the counts that have been added since.
    #[test]
    fn texts_are_the_kept_ones() {
        let totals = different();

        let json = include_str!("golden/status.json");
        assert_eq!(status(&totals, Format::Json), json);

        let prometheus = include_str!("golden/status.prometheus");
        assert_eq!(status(&totals, Format::Prometheus), prometheus);
    }

    /// No number has more digits than the largest one, `u64::MAX`. In buckets of
    /// Prometheus, which sum up others, the sums have no more digits.
    #[test]
    fn no_text_is_too_long() {
        let totals = all(u64::MAX);

        let json = status(&totals, Format::Json);
        assert_eq!(json.len(), 2089);
        assert!(json.len() <= STATUS_LEN);

        let prometheus = status(&totals, Format::Prometheus);
        assert_eq!(prometheus.len(), 6308);
        assert!(prometheus.len() <= STATUS_LEN);

        let digits = |line: &str| {
            line.rsplit(' ')
                .next()
                .map(|number| number.replace('.', ""))
        };
        let mut numbers = prometheus
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(digits);
        assert!(numbers.all(|number| number.len() == u64::MAX.to_string().len()));
    }

    #[test]
    fn no_variable_is_too_long() {
        for end in ENDS {
            let response = Response {
                spilled: u64::MAX,
                blocked_time: u64::MAX,
                end,
                ..RESPONSE
            };
            let mut variables = variables(&response).into_iter();
            assert!(variables.all(|text| text.len() <= VARIABLE_LEN));
        }
    }

    #[test]
    fn a_variable_has_its_number() {
        assert_eq!(
            variables(&RESPONSE),
            [
                "3000", "2049", "3", "8", "2", "1.007", "0.012", "40", "30", "complete", "524288"
            ]
        );

        assert_eq!(written(32, |text| variable(&RESPONSE, 11, text)), "");
    }

    #[test]
    fn an_end_has_its_place_and_its_name() {
        assert!(ENDS.iter().map(|end| *end as usize).eq(0..ENDS.len()));

        let names = [
            "aborted",
            "complete",
            "upstream_closed",
            "upstream_error",
            "upstream_timeout",
            "client_error",
            "client_timeout",
            "internal_error",
        ];
        assert_eq!(ENDS.map(name), names);
    }

    #[test]
    fn a_response_adds_to_each_total() {
        let once = Totals {
            responses: 1,
            received: 5000,
            passed: 4000,
            spilled_responses: 1,
            spilled: 3000,
            blocked_responses: 1,
            blocked_count: 2,
            blocked_time: 1007,
            client_time: 12,
            reads: 40,
            writes: 30,
            loans: 3,
            lent: 900,
            cut_turns: 4,
            queue_time: 5,
            peak: 2049,
            peaks: array::from_fn(|index| (index == 3).into()),
            share: 375,
            shares: array::from_fn(|index| (index == 3).into()),
            ends: [0, 1, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(added(&[RESPONSE]), once);

        let twice = added(&[RESPONSE, RESPONSE]);
        assert_eq!((twice.responses, twice.received), (2, 10_000));
        assert_eq!(twice.shares.iter().sum::<u64>(), 2);
    }

    #[test]
    fn a_response_without_spill_or_wait_is_none_of_those() {
        let totals = added(&[Response {
            spilled: 0,
            blocked_count: 0,
            ..RESPONSE
        }]);

        assert_eq!((totals.spilled_responses, totals.blocked_responses), (0, 0));
    }

    #[test]
    fn totals_start_again_from_zero() {
        let mut totals = all(u64::MAX);
        totals.add(&RESPONSE);

        assert_eq!((totals.responses, totals.received), (0, 4999));
        assert_eq!((totals.peaks[3], totals.peaks[4]), (0, u64::MAX));
    }

    #[test]
    fn limits_of_peaks_double() {
        let doubled = (0..21).map(|power| 1024 << power);
        let expected: Vec<u64> = [0].into_iter().chain(doubled).collect();
        assert_eq!(expected, PEAK_LIMITS);
    }

    #[test]
    fn a_peak_is_in_the_bucket_of_the_next_limit() {
        let (k, g) = (1 << 10, 1 << 30);
        let peaks = [0, 1, k, k + 1, 2 * k, 2 * k + 1, g, g + 1, u64::MAX];
        assert_eq!(peaks.map(peak_bucket), [0, 1, 1, 2, 2, 3, 21, 22, 22]);
    }

    #[test]
    fn a_share_is_in_the_bucket_of_the_next_eighth() {
        let buckets = |max| [0, 1, 4, 7, 8, 9].map(|buffers| share_bucket(buffers, max));

        assert_eq!(buckets(0), [0, 0, 0, 0, 0, 0]);
        assert_eq!(buckets(1), [0, 8, 8, 8, 8, 8]);
        assert_eq!(buckets(8), [0, 1, 4, 7, 8, 8]);
        assert_eq!(buckets(9), [0, 1, 4, 7, 8, 8]);
        assert_eq!(buckets(100), [0, 1, 1, 1, 1, 1]);
        assert_eq!(share_bucket(13, 100), 2);
    }

    #[test]
    fn a_share_is_rounded_down_to_thousandths() {
        let shares = [(0, 8), (1, 8), (2, 3), (8, 8), (9, 8), (5, 0)];
        let thousandths = shares.map(|(buffers, max)| share(buffers, max));
        assert_eq!(thousandths, [0, 125, 666, 1000, 1125, 0]);
    }
}
