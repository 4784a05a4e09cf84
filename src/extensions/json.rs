//! The status as JSON: the totals of all responses, and those of each zone with what is
//! advised for it. (nginx has none.)

#![forbid(unsafe_code)]

use crate::extensions::advice::{self, Advice, Remedy, Suggestion, Verdict};
use crate::extensions::metrics::{METRICS, Value, WORKER_METRICS, ends};
use crate::extensions::text::{Text, Unit};
use crate::extensions::totals::{Histogram, Totals};
use crate::extensions::zones::{self, Loans, Summary};
use crate::nginx::Board;

/// What the responses without a zone are shown as.
const NO_ZONE: &str = "(none)";

/// Appends the status. The first of `zones` is that of the responses without a zone.
pub(crate) fn render(board: Board<'_>, all: &[Summary], loans: &Loans, text: &mut Text<'_>) {
    let mut sum = Summary::default();
    all.iter().for_each(|zone| sum.merge(zone));

    text.add("{\n");
    summary(&sum, "  ", text);

    for metric in &WORKER_METRICS {
        let value = (metric.value)(loans);
        text.add(",\n  \"").add(metric.name).add("\": ");
        text.number(value);
    }

    text.add(",\n  \"zones\": {");

    let mut before = "\n    \"";

    for (zone, counted) in all.iter().enumerate() {
        if zones::is_shown(zone, counted) {
            text.add(before);
            before = ",\n    \"";

            zones::name(board, zone, |name| {
                _ = text.add(if name.is_empty() { NO_ZONE } else { name });
            });
            text.add("\": {\n");
            summary(counted, "      ", text);
            text.add(",\n      \"advice\": ");
            advise(&advice::of(&counted.totals), text);
            text.add("\n    }");
        }
    }

    text.add("\n  }\n}\n");
}

/// Appends the members of an object, each on a line that begins with `indent`.
fn summary(summary: &Summary, indent: &str, text: &mut Text<'_>) {
    let totals = &summary.totals;
    let mut before = "";

    for metric in &METRICS {
        text.add(before).add(indent).add("\"");
        text.add(metric.name).add("\": ");
        before = ",\n";

        match metric.value {
            Value::Counter(unit, of) => _ = text.value(unit, of(totals)),
            Value::Gauge(of) => _ = text.number(of(summary)),
            Value::Histogram(of) => histogram(&of(totals), indent, text),
            Value::Ends => json_ends(totals, text),
        }
    }
}

fn histogram(histogram: &Histogram<'_>, indent: &str, text: &mut Text<'_>) {
    text.add("{\n").add(indent).add("  \"sum\": ");
    text.value(histogram.unit, histogram.sum).add(",\n");
    text.add(indent).add("  \"responses\": {");

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

    text.add("}\n").add(indent).add("}");
}

fn json_ends(totals: &Totals, text: &mut Text<'_>) {
    let mut before = "{\"";

    for (end, count) in ends(totals) {
        text.add(before).add(end).add("\": ").number(count);
        before = ", \"";
    }

    text.add("}");
}

fn advise(advice: &Advice, text: &mut Text<'_>) {
    let verdict = match advice.verdict {
        Verdict::TooFew => "too_few_responses",
        Verdict::Nothing => "nothing_to_change",
        Verdict::Change => "change",
        Verdict::NoRemedy => "no_remedy",
    };

    text.add("{\"verdict\": \"").add(verdict);
    text.add("\", \"unhindered_share\": ");
    text.value(Unit::Thousandth, advice.unhindered);
    text.add(", \"suggestions\": [");

    let mut before = "";

    for suggestion in advice.suggestions.iter().flatten() {
        text.add(before);
        before = ", ";
        suggest(suggestion, text);
    }

    text.add("]}");
}

fn suggest(suggestion: &Suggestion, text: &mut Text<'_>) {
    text.add("{\"directives\": [\"");

    let share = match suggestion.remedy {
        Remedy::Buffers { number, size } => {
            text.add("proxy_buffers ").number(number);
            text.add(" ").size(size).add(";");
            "unhindered_share"
        }
        Remedy::Delay { time } => {
            text.add("event_pipe_spill_delay ").number(time).add("ms;");
            "off_disk_share"
        }
    };

    text.add("\"], \"").add(share).add("\": ");
    text.value(Unit::Thousandth, suggestion.share);
    text.add(", \"bytes_per_response\": ");
    text.number(suggestion.most_memory);
    text.add(", \"mean_bytes_per_response\": ");
    text.number(suggestion.mean_memory).add("}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extensions::text::tests::written;

    #[test]
    fn advice_names_the_directive_and_its_price() {
        let suggestion = |remedy| Suggestion {
            remedy,
            share: 990,
            most_memory: 65536,
            mean_memory: 4096,
        };
        let buffers = suggestion(Remedy::Buffers {
            number: 18,
            size: 4096,
        });
        let delay = suggestion(Remedy::Delay { time: 500 });
        let advice = |verdict, suggestions| {
            let advice = Advice {
                verdict,
                unhindered: 250,
                suggestions,
            };
            written(1 << 10, |text| advise(&advice, text))
        };

        assert_eq!(
            advice(Verdict::Change, [Some(buffers), Some(delay)]),
            "{\"verdict\": \"change\", \"unhindered_share\": 0.250, \"suggestions\": [\
             {\"directives\": [\"proxy_buffers 18 4k;\"], \"unhindered_share\": 0.990, \
             \"bytes_per_response\": 65536, \"mean_bytes_per_response\": 4096}, \
             {\"directives\": [\"event_pipe_spill_delay 500ms;\"], \"off_disk_share\": 0.990, \
             \"bytes_per_response\": 65536, \"mean_bytes_per_response\": 4096}]}"
        );
        assert_eq!(
            advice(Verdict::NoRemedy, [None, None]),
            "{\"verdict\": \"no_remedy\", \"unhindered_share\": 0.250, \"suggestions\": []}"
        );
    }
}
