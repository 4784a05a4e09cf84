//! What came of a case on one side.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;

use flate2::read::GzDecoder;

use super::case::{Case, Request};
use super::model;
use super::reader::Got;

/// Something that should not be, or that both sides must have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The response to that request has bytes that are not its own.
    WrongBytes(usize),
    /// A part is given for the whole.
    Short(usize),
    /// A response ends too early although nobody breaks or leaves.
    Cut(usize),
    /// A response does not go on.
    Hung(usize),
    /// A response has this status.
    Status(usize, u16),
    /// A response has this in its header.
    Header(usize, String),
    /// The error log has a line of this kind.
    Log(String),
    /// Upstream waited in vain for the client to get what had been sent.
    Held,
    /// A response on a slow link is cut, or upstream is given up on one.
    GivenUp,
    /// While a response stands, another one takes more reads than alone.
    Hoarded,
    /// Of responses without an end, something was written to disk.
    Spilled,
    /// A file was stored that is not the body.
    Stored(usize),
    /// Descriptors are left open.
    LeftOpen,
    /// The worker has ended.
    Died,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongBytes(nth) => write!(f, "request {nth} gets wrong bytes"),
            Self::Short(nth) => write!(f, "request {nth} gets a part that is said to be all"),
            Self::Cut(nth) => write!(f, "request {nth} is cut"),
            Self::Hung(nth) => write!(f, "request {nth} stands still"),
            Self::Status(nth, status) => write!(f, "request {nth} gets status {status}"),
            Self::Header(nth, line) => write!(f, "request {nth} gets {line:?}"),
            Self::Log(kind) => write!(f, "error log: {kind}"),
            Self::Held => f.write_str("what upstream has sent is held back"),
            Self::GivenUp => f.write_str("a peer that is alive is given up"),
            Self::Hoarded => f.write_str("a response that stands keeps what others need"),
            Self::Spilled => f.write_str("a response without an end is put on disk"),
            Self::Stored(nth) => write!(f, "what is stored of location {nth} is not its body"),
            Self::LeftOpen => f.write_str("descriptors are left open"),
            Self::Died => f.write_str("the worker has ended"),
        }
    }
}

impl Finding {
    /// The kind of what is wrong, if this is not just something to compare.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Status(..) | Self::Header(..) => None,
            Self::Log(kind) => Some(kind.clone()),
            _ => {
                let text = self.to_string();
                let words = text
                    .split(' ')
                    .filter(|word| word.parse::<usize>().is_err());
                Some(words.collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// Whether no speed of anybody excuses this.
    pub fn is_grave(&self) -> bool {
        match self {
            Self::WrongBytes(_) | Self::Stored(_) | Self::Died => true,
            Self::Log(kind) => !kind.starts_with("[error]"),
            _ => false,
        }
    }
}

/// All that is compared of one run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was found.
    pub findings: BTreeSet<Finding>,
    /// More words for some findings.
    pub details: Vec<String>,
    /// How many right bytes each client has.
    pub sizes: Vec<usize>,
    /// Which responses are whole.
    pub whole: Vec<bool>,
    /// The most temporary files that were open at a time.
    pub temp_files: usize,
    /// The most bytes on disk at a time.
    pub temp_bytes: u64,
}

impl Outcome {
    /// Judges what one client got by what it should have.
    pub(super) fn judge(&mut self, case: &Case, nth: usize, got: &Got) {
        let request = &case.requests[nth];
        let body = match got.header("content-encoding") {
            Some("gzip") => gunzip(&got.body),
            _ if request.gzip && got.body.starts_with(&[0x1f, 0x8b]) => gunzip(&got.body),
            _ => got.body.clone(),
        };
        let followed = match got.status {
            0 => Ok(false),
            200 => model::follow(&body, &model::pieces(case, request)),
            206 => model::follow_bytes(&body, &part(case, request)),
            // nginx's own page.
            _ => Ok(true),
        };
        let ended = got.complete || got.until_close;
        let sound = case.is_sound(request);
        let stays = request.leaves.is_none();
        let whole = ended && followed == Ok(true);
        self.sizes.push(body.len());
        self.whole.push(whole);
        let mut find = |finding| self.findings.insert(finding);

        if got.hung {
            find(Finding::Hung(nth));
        }
        match &followed {
            Err(model::Wrong(what)) => {
                find(Finding::WrongBytes(nth));
                self.details.push(format!("request {nth}: {what}"));
            }
            Ok(false) if stays && sound => {
                find(Finding::Cut(nth));
                let size = body.len();
                self.details
                    .push(format!("request {nth} gets {size} bytes"));
            }
            _ => {}
        }
        let find = |finding| self.findings.insert(finding);
        if got.complete && followed == Ok(false) {
            let mut find = find;
            find(Finding::Short(nth));
        }
        if stays && sound && got.status != 0 {
            self.findings.insert(Finding::Status(nth, got.status));
            for name in HEADERS {
                let value = got.header(name).unwrap_or("none");
                let line = format!("{name}: {value}");
                self.findings.insert(Finding::Header(nth, line));
            }
        }
    }
}

impl Outcome {
    /// Judges what stock does not do: this is not compared.
    pub(super) fn hold_to_promises(&mut self, case: &Case) {
        if case.is_live() && self.temp_files > 0 {
            self.findings.insert(Finding::Spilled);
            let bytes = self.temp_bytes;
            self.details.push(format!("on disk: {bytes} bytes"));
        }
        let is_cut = |finding: &Finding| matches!(finding, Finding::Cut(_) | Finding::Hung(_));
        if case.is_on_slow_link() && self.findings.iter().any(is_cut) {
            self.findings.insert(Finding::GivenUp);
        }
    }
}

/// What of a header matters.
const HEADERS: [&str; 6] = [
    "content-type",
    "content-length",
    "content-range",
    "content-encoding",
    "transfer-encoding",
    "accept-ranges",
];

/// The part of the response that is asked for.
fn part(case: &Case, request: &Request) -> Vec<u8> {
    let mut whole = model::joined(&model::pieces(case, request));
    let Some((first, last)) = request.range else {
        return whole;
    };
    whole.truncate(last.saturating_add(1));
    whole.split_off(first.min(whole.len()))
}

/// As much as can be decompressed.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(bytes);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = decoder.read(&mut buffer) {
        text.extend(&buffer[..size]);
    }
    text
}
