//! The end of a FastCGI response whose server keeps the connection: its own word
//! for the end is enough.

use std::io::Result;
use std::path::Path;

use pipe_tests::upstream::{Framing, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::pace::{PATH, Setup, Speech, Stage, TOO_LONG};

/// The bytes of the last record.
const END: usize = 16;

/// And of the one before it, which tells the end of the body, and which not all
/// servers send.
const EMPTY: usize = 8;

/// Whether it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    Sent,
    Left,
}

/// What comes by itself.
#[derive(Clone, Copy, Debug)]
enum Segments {
    /// All at once.
    One,
    /// The header, and the rest.
    Header,
    /// The end, after all else.
    End,
    /// Of the end, the last bytes.
    PartOfEnd,
}

impl Segments {
    const ALL: [Self; 4] = [Self::One, Self::Header, Self::End, Self::PartOfEnd];

    /// Where a response is cut that has such a size, and such a header.
    fn cut(self, size: usize, header: usize) -> usize {
        match self {
            Self::One => size,
            Self::Header => header,
            Self::End => size - END,
            Self::PartOfEnd => size - 5,
        }
    }
}

/// What became of a response.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// It ended when all of it had been sent, and nothing else had happened.
    at_once: bool,
    /// It ended with all of its body, if later.
    whole: bool,
}

/// The server's last word is not waited for.
const GOOD: Outcome = Outcome {
    at_once: true,
    whole: true,
};

/// The bytes of a response, and of its header.
fn response(size: usize, empty: Empty) -> (Reply, Vec<u8>, usize) {
    let mut reply = Reply::random(8, size);
    reply.framing = Framing::Close;
    reply.headers.push("Content-Type: text/plain".to_owned());
    reply.records.header_alone = true;
    let mut wire = Protocol::FastCgi.wire(&reply, PATH);
    let end = wire.len() - END;
    if empty == Empty::Left {
        wire.drain(end - EMPTY..end);
    }
    let mut header = reply.clone();
    header.stop = Some(Point::Body(0));
    let header = Protocol::FastCgi.wire(&header, PATH).len();
    (reply, wire, header)
}

fn outcome(
    binary: &Path,
    directives: &str,
    (size, empty): (usize, Empty),
    segments: Segments,
) -> Result<Outcome> {
    let (reply, wire, header) = response(size, empty);
    let setup = Setup {
        protocol: Protocol::FastCgi,
        ..Setup::new(Speech::Http1, directives)
    };
    let stage = Stage::start(binary, &setup)?;
    let mut client = stage.client(PATH)?;
    let mut upstream = stage.upstream()?;
    upstream.put(&wire)?;
    upstream.send(segments.cut(wire.len(), header))?;
    stage.time.settle()?;
    while upstream.has_more() {
        upstream.send(usize::MAX)?;
        stage.time.settle()?;
    }
    client.read(usize::MAX)?;
    let at_once = !client.is_open();

    stage.time.advance(TOO_LONG)?;
    client.read(usize::MAX)?;
    assert!(!client.is_open(), "{directives} {size} {segments:?}");
    let whole = client.finish() == reply.body.bytes();
    stage.stop()?;
    Ok(Outcome { at_once, whole })
}

/// It waits for the end of the connection, and when that takes too long, the last
/// of the body is lost.
#[test]
fn stock_waits_for_more_than_the_end() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    let sent = (5000, Empty::Left);
    for segments in Segments::ALL {
        let bad = Outcome {
            at_once: false,
            whole: false,
        };
        assert_eq!(outcome(&stock, "", sent, segments)?, bad, "{segments:?}");
        let late = Outcome {
            at_once: false,
            whole: true,
        };
        let off = outcome(&ours, "event_pipe_stream off;", sent, segments)?;
        assert_eq!(off, late, "{segments:?}");
    }
    Ok(())
}

#[test]
fn a_response_ends_with_its_last_record() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let cache = "@_cache @; @_cache_key k; @_cache_valid any 1h;";
    let mut bad = Vec::new();
    for directives in ["", "event_pipe_memory 0;", "@_keep_conn on;", cache] {
        for size in [100, 5000, 60_000] {
            for sent in [(size, Empty::Sent), (size, Empty::Left)] {
                for segments in Segments::ALL {
                    let outcome = outcome(&ours, directives, sent, segments)?;
                    bad.push((directives, sent, segments, outcome));
                }
            }
        }
    }
    bad.retain(|(.., outcome)| *outcome != GOOD);
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

/// The record begins in one buffer and ends in the next.
#[test]
fn the_last_record_may_lie_in_two_buffers() -> Result<()> {
    const BUFFER: usize = 4096;
    let Binaries { ours, .. } = binaries()?;
    let directives = "event_pipe_memory 0; @_buffer_size 4k; @_buffers 8 4k;";
    let (_, wire, _) = response(BUFFER, Empty::Left);
    let mut bad = Vec::new();
    for over in 0..=END {
        let sent = (3 * BUFFER + over - wire.len(), Empty::Left);
        for segments in [Segments::One, Segments::End] {
            let outcome = outcome(&ours, directives, sent, segments)?;
            bad.push((over, segments, outcome));
        }
    }
    bad.retain(|(.., outcome)| *outcome != GOOD);
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}
