//! The status page (`event_pipe_status`): its formats, and how a request chooses one.
//! (nginx has none.)
//!
//! Configurations and dashboards depend on the names of the formats.

#![forbid(unsafe_code)]

use crate::extensions::prometheus::Dialect;
use crate::extensions::text::Text;
use crate::extensions::zones::{self, Loans, Summary};
use crate::extensions::{json, prometheus};
use crate::nginx::Board;

/// The form of the status. The number of a format is its place in [`FORMATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// The text format of Prometheus.
    Prometheus,
    /// The text format of OpenMetrics.
    OpenMetrics,
    /// A page for a person, which shows what it reads as JSON.
    Html,
}

/// All formats: the name, the media type with its parameters, and the most bytes of text
/// for a zone.
const FORMATS: [(Format, &str, &str, usize); 4] = [
    (Format::Json, "json", "application/json", 6 * 1024),
    (
        Format::Prometheus,
        "prometheus",
        "text/plain; version=0.0.4; charset=utf-8",
        24 * 1024,
    ),
    (
        Format::OpenMetrics,
        "openmetrics",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        24 * 1024,
    ),
    (Format::Html, "html", "text/html; charset=utf-8", 0),
];

/// More bytes than a text has beside those for each zone.
const FRAME: usize = 8 * 1024;

/// The page for a person.
const PAGE: &str = include_str!("page.html");

/// What the page may do: run its own script and style, and read the status. A test holds
/// the two checksums against the page.
const POLICY: &str = concat!(
    "default-src 'none'; script-src 'sha256-gdzW24eIv/WyH8qcVCJuC0mU6bP+CaecTXh4NERJ1IY='; ",
    "style-src 'sha256-/KdGzynGlAyinEAHGSGNoIMT3/1W+mfMjiTn1H+eTek='; ",
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'",
);

/// The number of the format with this name.
pub(crate) fn find(name: &[u8]) -> Option<usize> {
    FORMATS
        .iter()
        .position(|(_, known, _, _)| known.as_bytes() == name)
}

/// The format with this number.
pub(crate) fn format(number: usize) -> Format {
    FORMATS
        .get(number)
        .map_or(Format::Json, |(format, _, _, _)| *format)
}

impl Format {
    /// The media type, with its parameters.
    pub(crate) fn media_type(self) -> &'static str {
        self.row().0
    }

    /// What the page may do (`Content-Security-Policy`); empty if that does not matter.
    pub(crate) fn policy(self) -> &'static str {
        if self == Format::Html { POLICY } else { "" }
    }

    /// The text, if it is the same at any time.
    pub(crate) fn constant(self) -> Option<&'static str> {
        (self == Format::Html).then_some(PAGE)
    }

    /// How many bytes of memory it takes to write about this many zones.
    pub(crate) fn memory(self, zones: usize) -> usize {
        let zone = self.row().1.saturating_add(size_of::<Summary>());

        match self.constant() {
            Some(_) => 0,
            // JSON has the sum of all zones, too.
            None => zones.saturating_add(1).saturating_mul(zone),
        }
        .saturating_add(FRAME)
    }

    fn row(self) -> (&'static str, usize) {
        FORMATS
            .iter()
            .find(|(format, _, _, _)| *format == self)
            .map_or(("", 0), |(_, _, media_type, size)| (*media_type, *size))
    }
}

/// The format in which Prometheus is answered, by the header `Accept` of its request: that
/// of OpenMetrics, if it is wanted at least as much as plain text.
pub(crate) fn negotiate(format: Format, accept: &[u8]) -> Format {
    if format != Format::Prometheus {
        return format;
    }

    let open = wanted(accept, b"application/openmetrics-text");
    let plain = wanted(accept, b"text/plain");

    match open {
        Some(open) if plain.is_none_or(|plain| open >= plain) && open > 0 => Format::OpenMetrics,
        _ => Format::Prometheus,
    }
}

/// How much a media type is wanted, in thousandths (RFC 9110, 12.4.2); `None` if the
/// header does not name it.
fn wanted(accept: &[u8], media_type: &[u8]) -> Option<u64> {
    accept
        .split(|byte| *byte == b',')
        .filter_map(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let is_this = parts.next()?.eq_ignore_ascii_case(media_type);

            is_this.then(|| parts.find_map(quality).unwrap_or(1000))
        })
        .max()
}

/// The value of a parameter `q=0.75`, in thousandths; `None` for other parameters.
fn quality(parameter: &[u8]) -> Option<u64> {
    let value = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))?;
    let digits = value.iter().filter(|byte| **byte != b'.');
    let digits = digits.copied().chain(core::iter::repeat(b'0')).take(4);

    Some(digits.fold(0, |number: u64, digit| {
        let digit = digit.wrapping_sub(b'0').min(9);
        number.saturating_mul(10).saturating_add(digit.into())
    }))
}

/// Appends the status.
pub(crate) fn render(
    board: Board<'_>,
    zones: &[Summary],
    loans: &Loans,
    format: Format,
    text: &mut Text<'_>,
) {
    match format {
        Format::Json => json::render(board, zones, loans, text),
        Format::Prometheus => {
            prometheus::render(board, zones, loans, Dialect::Prometheus, text);
        }
        Format::OpenMetrics => {
            prometheus::render(board, zones, loans, Dialect::OpenMetrics, text);
        }
        Format::Html => _ = text.add(PAGE),
    }
}

/// Fills in what all workers have counted in each zone.
pub(crate) fn gather(board: Board<'_>, zones: &mut [Summary], is_alive: impl Fn(u32) -> bool) {
    for (zone, summary) in zones.iter_mut().enumerate() {
        *summary = zones::summary(board, zone, &is_alive);
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::extensions::text::tests::written;
    use crate::extensions::totals::Totals;
    use crate::extensions::totals::tests::all;
    use crate::extensions::zones::Key;
    use crate::nginx::{NAME_LEN, tests::with_board};

    /// A different number in almost every field, with the largest and the smallest.
    fn different(step: u64) -> Summary {
        let mut totals = Totals::default();
        for (number, word) in totals.words().enumerate() {
            *word = 100 + step + number as u64;
        }
        totals.received = u64::MAX;
        totals.spilled_responses = 0;
        totals.client_time = 1_234_567;
        Summary {
            totals,
            active: 3,
            disk: 1 << 20,
            lent: 256 << 10,
        }
    }

    const LOANS: Loans = Loans {
        memory: 1 << 19,
        most: 1 << 21,
    };

    /// The status of a board with names, of which each zone has counted something.
    fn status(names: &[&str], summary: impl Fn(usize) -> Summary, format: Format) -> String {
        let mut text = String::new();
        with_board(1, |board| {
            for name in names {
                zones::add(board, &Key::new(name.as_bytes()).unwrap(), names.len());
            }
            let zones: Vec<_> = (0..names.len() + 2).map(&summary).collect();
            let size = format.memory(zones.len());
            text = written(size, |text| render(board, &zones, &LOANS, format, text));
        });
        text
    }

    fn some(zone: usize) -> Summary {
        match zone {
            zones::OVERFLOW => Summary::default(),
            zone => different(zone as u64),
        }
    }

    /// Set `PIPE_UPDATE_GOLDEN` to write them anew.
    fn expect_golden(name: &str, text: &str) {
        let file = format!(
            "{}/src/extensions/golden/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        if std::env::var_os("PIPE_UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(file).unwrap());
    }

    #[test]
    fn texts_are_the_kept_ones() {
        for (format, file) in [
            (Format::Json, "status.json"),
            (Format::Prometheus, "status.prometheus"),
            (Format::OpenMetrics, "status.openmetrics"),
        ] {
            expect_golden(file, &status(&["api", "/a:b"], some, format));
        }
    }

    #[test]
    fn without_zones_there_are_no_labels() {
        let text = status(&[], some, Format::Prometheus);
        assert!(!text.contains("zone="), "{text}");
        let json = status(&[], |_| Summary::default(), Format::Json);
        assert!(json.contains("\"(none)\": {"), "{json}");
        assert!(!json.contains("(overflow)"), "{json}");
    }

    /// No number has more digits than the largest one, `u64::MAX`.
    #[test]
    fn no_text_is_too_long() {
        let largest = |_| Summary {
            totals: all(u64::MAX),
            active: u64::MAX,
            disk: u64::MAX,
            lent: u64::MAX,
        };
        let names: Vec<String> = (0..20).map(|n| format!("{n:x>NAME_LEN$}")).collect();
        for count in [0, 1, 20] {
            let names: Vec<&str> = names.iter().take(count).map(String::as_str).collect();
            for (format, name, _, _) in FORMATS {
                let text = status(&names, largest, format);
                let summaries = (count + 3) * size_of::<Summary>();
                let is_page = format.constant().is_some();
                let size = format.memory(count + 2) + usize::from(is_page) * summaries;
                assert!(
                    is_page || text.len() + summaries < size,
                    "{name}: {}",
                    text.len()
                );
            }
        }
    }

    #[test]
    fn only_the_page_has_a_policy() {
        assert!(Format::Html.policy().starts_with("default-src 'none'"));
        assert_eq!(Format::Json.policy(), "");
    }

    #[test]
    fn formats_have_names() {
        for (number, (format_, name, _, _)) in FORMATS.iter().enumerate() {
            assert_eq!(find(name.as_bytes()), Some(number));
            assert_eq!(format(number), *format_);
        }
        assert_eq!(find(b"xml"), None);
        assert_eq!(find(b""), None);
    }

    #[test]
    fn openmetrics_is_for_who_wants_it() {
        let chosen = |accept: &str| negotiate(Format::Prometheus, accept.as_bytes());
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; q=0.75",
            "application/openmetrics-text;q=0.001",
        ] {
            assert_eq!(chosen(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text-not",
        ] {
            assert_eq!(chosen(accept), Format::Prometheus, "{accept}");
        }
        let json = negotiate(Format::Json, b"application/openmetrics-text");
        assert_eq!(json, Format::Json);
    }
}
