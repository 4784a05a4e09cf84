//! FastCGI as a scripted upstream speaks it.

use std::io::{Error, Read, Result};

use super::cgi::header_lines;
use super::reply::{Framing, Records, Reply, Wire, header};
use super::{Request, next_byte};

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The size of what precedes the content of a record.
const HEADER: usize = 8;

/// Reads a request; none where the connection ends instead.
pub(super) fn read_request(stream: &mut impl Read) -> Result<Option<Request>> {
    let mut params = Vec::new();
    loop {
        let Some((kind, content)) = read_record(stream)? else {
            return Ok(None);
        };
        match kind {
            BEGIN_REQUEST => params.clear(),
            PARAMS => params.extend(content),
            // The end of the standard input ends the request.
            STDIN if content.is_empty() => break,
            STDIN => {}
            kind => return Err(Error::other(format!("record of kind {kind}"))),
        }
    }
    Request::from_variables(&variables(&params)?).map(Some)
}

fn read_record(stream: &mut impl Read) -> Result<Option<(u8, Vec<u8>)>> {
    let Some(_version) = next_byte(stream)? else {
        return Ok(None);
    };
    let mut rest = [0; HEADER - 1];
    stream.read_exact(&mut rest)?;
    let [kind, _, _, high, low, padding, _] = rest;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let mut content = vec![0; size + usize::from(padding)];
    stream.read_exact(&mut content)?;
    content.truncate(size);
    Ok(Some((kind, content)))
}

fn variables(mut params: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut variables = Vec::new();
    while !params.is_empty() {
        let (name, value) = (length(&mut params)?, length(&mut params)?);
        let mut word = |size| -> Result<Vec<u8>> {
            let mut word = vec![0; size];
            params.read_exact(&mut word)?;
            Ok(word)
        };
        variables.push((word(name)?, word(value)?));
    }
    Ok(variables)
}

/// A length is one byte, or four with the first bit set.
fn length(params: &mut &[u8]) -> Result<usize> {
    let mut first = [0];
    params.read_exact(&mut first)?;
    if first[0] < 0x80 {
        return Ok(first[0].into());
    }
    let mut rest = [0; 3];
    params.read_exact(&mut rest)?;
    let bytes = [first[0] & 0x7f, rest[0], rest[1], rest[2]];
    Ok(u32::from_be_bytes(bytes) as usize)
}

/// The bytes of `reply` to `request`.
pub(super) fn render(reply: &Reply, request: &Request) -> Wire {
    let (status, headers, mut body) = reply.to(request);
    let lines = header_lines(reply, status, headers, body.len());
    let head = header(&lines, reply.header_size, HEADER);
    let after_end = reply.framing != Framing::Length;
    if request.method == "HEAD" {
        body.clear();
    } else if !after_end {
        body.resize(body.len() + reply.extra, b'+');
    }
    if let Some(good) = reply.breach_after {
        body.truncate(good);
    }

    let mut bytes = Vec::new();
    let header = HEADER + head.len();
    let records = &reply.records;
    if records.header_alone {
        write_stream(&mut bytes, &head, records);
        let middle = body.len() / 2;
        write_body(&mut bytes, &body, middle, records);
    } else {
        let text = [head, body].concat();
        write_body(&mut bytes, &text, text.len() / 2, records);
    }
    if reply.breach_after.is_some() {
        // There is no version 9.
        bytes.extend([9, STDOUT, 0, 1, 0, 0, 0, 0]);
        return Wire { bytes, header };
    }
    if !records.bare_end {
        write_record(&mut bytes, STDOUT, &[], 0);
    }
    write_record(&mut bytes, END_REQUEST, &[0; 8], 0);
    if after_end && reply.extra > 0 {
        write_record(&mut bytes, STDOUT, &vec![b'+'; reply.extra], 0);
    }
    Wire { bytes, header }
}

fn write_body(bytes: &mut Vec<u8>, body: &[u8], middle: usize, records: &Records) {
    let Some(message) = records.stderr else {
        return write_stream(bytes, body, records);
    };
    write_stream(bytes, &body[..middle], records);
    write_record(bytes, STDERR, message.as_bytes(), records.padding);
    write_stream(bytes, &body[middle..], records);
}

fn write_stream(bytes: &mut Vec<u8>, content: &[u8], records: &Records) {
    for part in content.chunks(records.size) {
        write_record(bytes, STDOUT, part, records.padding);
    }
}

fn write_record(bytes: &mut Vec<u8>, kind: u8, content: &[u8], padding: u8) {
    let size = u16::try_from(content.len()).expect("a record's content fits");
    let [high, low] = size.to_be_bytes();
    bytes.extend([1, kind, 0, 1, high, low, padding, 0]);
    bytes.extend(content);
    bytes.resize(bytes.len() + usize::from(padding), 0);
}

#[cfg(test)]
mod tests {
    use super::super::reply::Body;
    use super::*;

    fn records(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        std::iter::from_fn(|| read_record(&mut bytes).expect("whole records")).collect()
    }

    #[test]
    fn reads_what_nginx_sends() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, BEGIN_REQUEST, &[0, 1, 0, 0, 0, 0, 0, 0], 0);
        let mut params = vec![14, 3];
        params.extend(b"REQUEST_METHODGET");
        params.extend([11, 0x80, 0, 0, 2]);
        params.extend(b"REQUEST_URI/a");
        write_record(&mut bytes, PARAMS, &params, 7);
        write_record(&mut bytes, PARAMS, &[], 0);
        write_record(&mut bytes, STDIN, b"body", 4);
        write_record(&mut bytes, STDIN, &[], 0);
        let request = read_request(&mut &bytes[..]).unwrap().expect("a request");
        assert_eq!((&*request.method, &*request.path), ("GET", "/a"));
    }

    #[test]
    fn the_header_ends_where_asked() {
        let mut reply = Reply::new(Body::Text("body".into()));
        reply.header_size = Some(200);
        reply.records.header_alone = true;
        let wire = render(&reply, &Request::new("GET", "/", None));
        assert_eq!(wire.header, 200);
        let records = records(&wire.bytes);
        assert_eq!(records[0].1.len(), 192);
        assert_eq!(records[1], (STDOUT, b"body".to_vec()));
        assert_eq!(records[3].0, END_REQUEST);
    }

    #[test]
    fn cuts_records_and_interleaves_standard_error() {
        let mut reply = Reply::new(Body::Text("0123456789".into()));
        reply.records = Records {
            size: 3,
            padding: 5,
            header_alone: true,
            stderr: Some("oops"),
            bare_end: false,
        };
        let wire = render(&reply, &Request::new("GET", "/", None));
        let records = records(&wire.bytes);
        let text = |wanted| -> Vec<u8> {
            let of_kind = records.iter().filter(|(kind, _)| *kind == wanted);
            of_kind.flat_map(|(_, content)| content.clone()).collect()
        };
        assert!(text(STDOUT).ends_with(b"\r\n\r\n0123456789"));
        assert_eq!(text(STDERR), b"oops");
    }
}
