//! What a client must get, byte by byte.
//!
//! A body consists of blocks of 16 bytes, each with the number of the case, of
//! the location and the block's own offset. So a byte of another response, or of
//! another place, is known for what it is.

use std::ops::Range;

use super::case::{Case, Request};

/// The size of a block.
pub const BLOCK: usize = 16;

/// What `sub_filter` replaces, and what by: as long, so that offsets remain.
pub const WORD: (&str, &str) = ("a0\n", "==\n");

/// A part of a response that comes from one location.
#[derive(Debug)]
pub struct Piece {
    location: usize,
    /// Its place among the bytes that upstream sends.
    raw: Range<usize>,
    bytes: Vec<u8>,
    /// Whether upstream breaks, so that this may end anywhere; what then follows is
    /// behind the pieces that come of the same response.
    breaks: bool,
    /// How many of them there are.
    missing: usize,
}

/// One block.
fn block(case: &Case, location: usize, offset: usize) -> String {
    format!(
        "{:04x}.{:01x}.{offset:08x}\n",
        case.number & 0xffff,
        location & 0xf
    )
}

/// The blocks of a range, which begins with one.
fn blocks(case: &Case, location: usize, range: Range<usize>) -> String {
    let mut text = String::with_capacity(range.len() + BLOCK);
    for offset in range.clone().step_by(BLOCK) {
        text += &block(case, location, offset);
    }
    text.truncate(range.len());
    text
}

/// The own bytes of a location, cut where something is included.
fn sections(case: &Case, location: usize) -> Vec<Range<usize>> {
    let here = &case.locations[location];
    let mut cuts = vec![0];
    let places = here.includes.iter().map(|include| include.block * BLOCK);
    cuts.extend(places.map(|place| place.min(here.reply.size / BLOCK * BLOCK)));
    cuts.push(here.reply.size);
    cuts.windows(2).map(|two| two[0]..two[1]).collect()
}

/// What upstream sends as the body of a location.
pub fn raw(case: &Case, location: usize) -> String {
    let mut text = String::new();
    let mut includes = case.locations[location].includes.iter();
    for section in sections(case, location) {
        text += &blocks(case, location, section);
        if let Some(include) = includes.next() {
            text += &directive(case, include.location, include.wait);
        }
    }
    text
}

fn directive(case: &Case, location: usize, wait: bool) -> String {
    let wait = if wait { " wait=\"yes\"" } else { "" };
    format!("<!--#include virtual=\"{}\"{wait} -->", case.path(location))
}

/// What the response to a request consists of, without ranges and compression.
pub fn pieces(case: &Case, request: &Request) -> Vec<Piece> {
    let here = &case.locations[request.location];
    let mut pieces = Vec::new();
    if let Some(before) = here.before {
        pieces.extend(part(case, before));
    }
    pieces.extend(part(case, request.location));
    if let Some(after) = here.after {
        pieces.extend(part(case, after));
    }
    pieces
}

/// A location's own bytes with what they include.
fn part(case: &Case, location: usize) -> Vec<Piece> {
    let here = &case.locations[location];
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut includes = here.includes.iter();
    for section in sections(case, location) {
        let mut text = blocks(case, location, section);
        let raw = at..at + text.len();
        at = raw.end;
        if here.sub {
            text = text.replace(WORD.0, WORD.1);
        }
        pieces.push(Piece {
            location,
            raw,
            bytes: text.into_bytes(),
            breaks: here.reply.fault.is_some(),
            missing: 0,
        });
        if let Some(include) = includes.next() {
            at += directive(case, include.location, include.wait).len();
            pieces.extend(part(case, include.location));
        }
    }
    let count = pieces.len();
    for (index, piece) in pieces.iter_mut().enumerate() {
        // Those of an included response have their own count.
        if piece.location == location {
            piece.missing = count - 1 - index;
        }
    }
    pieces
}

/// All bytes of the pieces.
pub fn joined(pieces: &[Piece]) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|piece| piece.bytes.iter().copied())
        .collect()
}

/// How much of the response the client can have when upstream has sent so many
/// bytes of a location's body.
pub fn reached(pieces: &[Piece], location: usize, raw: usize) -> Option<usize> {
    let mut before = 0;
    for piece in pieces {
        if piece.location == location && (piece.raw.start..=piece.raw.end).contains(&raw) {
            return Some(before + raw - piece.raw.start);
        }
        before += piece.bytes.len();
    }
    None
}

/// What a byte is that should be another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

/// Whether `got` is all of the pieces, if it is a part of them. Where upstream
/// breaks, the rest of that piece may be missing, and what that response includes
/// behind it.
pub fn follow(got: &[u8], pieces: &[Piece]) -> Result<bool, Wrong> {
    follow_from(got, 0, pieces)
}

fn follow_from(got: &[u8], at: usize, pieces: &[Piece]) -> Result<bool, Wrong> {
    let rest = &got[at..];
    let Some((first, others)) = pieces.split_first() else {
        return match rest.is_empty() {
            true => Ok(true),
            false => Err(wrong(got, at, "the end")),
        };
    };
    let same = common(rest, &first.bytes);
    let is_all = same == first.bytes.len();
    if is_all && !first.breaks {
        return follow_from(got, at + same, others);
    }
    if !is_all && same == rest.len() {
        return Ok(false);
    }
    let next = is_all.then(|| follow_from(got, at + same, others));
    if let Some(Ok(whole)) = next {
        return Ok(whole);
    }
    // What follows a broken piece may begin with the same bytes by chance.
    let behind = others.get(first.missing..).unwrap_or_default();
    for back in (0..=same.min(BLOCK)).filter(|_| first.breaks) {
        if follow_from(got, at + same - back, behind).is_ok() {
            return Ok(false);
        }
    }
    let start = same / BLOCK * BLOCK;
    let end = (start + BLOCK).min(first.bytes.len());
    let due = String::from_utf8_lossy(&first.bytes[start..end]);
    Err(wrong(got, at + same, &format!("{:?}", due.trim_end())))
}

/// Whether `got` is all of `whole`, if it is the start of it.
pub fn follow_bytes(got: &[u8], whole: &[u8]) -> Result<bool, Wrong> {
    let same = common(got, whole);
    if same < got.len() {
        let end = (same + BLOCK).min(whole.len());
        let due = String::from_utf8_lossy(&whole[same..end]);
        return Err(wrong(got, same, &format!("{due:?}")));
    }
    Ok(same == whole.len())
}

fn common(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 4096;
    let size = a.len().min(b.len());
    let mut at = 0;
    while at + STEP <= size && a[at..at + STEP] == b[at..at + STEP] {
        at += STEP;
    }
    let differ = (at..size).find(|at| a[*at] != b[*at]);
    differ.unwrap_or(size)
}

fn wrong(got: &[u8], at: usize, due: &str) -> Wrong {
    let from = at.saturating_sub(BLOCK);
    let found = String::from_utf8_lossy(&got[from..(at + 2 * BLOCK).min(got.len())]);
    Wrong(format!(
        "at {at} of {}: {found:?} where {due} is due",
        got.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, breaks: bool) -> Piece {
        Piece {
            location: 0,
            raw: 0..text.len(),
            bytes: text.into(),
            breaks,
            missing: 0,
        }
    }

    #[test]
    fn a_part_is_known_from_the_whole_and_from_what_is_wrong() {
        let pieces = [piece("abcd", false), piece("efgh", false)];
        assert_eq!(follow(b"abcdefgh", &pieces), Ok(true));
        assert_eq!(follow(b"abcde", &pieces), Ok(false));
        assert!(follow(b"abcefgh", &pieces).is_err());
        assert!(follow(b"abcdefghi", &pieces).is_err());
    }

    #[test]
    fn the_rest_of_a_broken_piece_may_be_missing() {
        let pieces = [piece("0001", true), piece("0002", false)];
        assert_eq!(follow(b"00010002", &pieces), Ok(true));
        assert_eq!(follow(b"000002", &pieces), Ok(false));
        assert_eq!(follow(b"0002", &pieces), Ok(false));
        assert!(follow(b"00030002", &pieces).is_err());
        // All of it, by chance.
        let pieces = [piece("000", true), piece("0002", false)];
        assert_eq!(follow(b"0002", &pieces), Ok(false));
    }
    #[test]
    fn what_a_broken_response_includes_behind_the_break_is_missing_too() {
        let mut first = piece("0001", true);
        first.missing = 2;
        let pieces = [
            first,
            piece("0002", false),
            piece("0003", true),
            piece("0004", false),
        ];
        assert_eq!(follow(b"0001000200030004", &pieces), Ok(true));
        assert_eq!(follow(b"00010004", &pieces), Ok(false));
        assert_eq!(follow(b"000004", &pieces), Ok(false));
        assert!(follow(b"00010005", &pieces).is_err());
        assert!(follow(b"00020004", &pieces).is_err());
    }
}
