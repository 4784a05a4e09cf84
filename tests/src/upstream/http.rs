//! HTTP/1.x as a scripted upstream speaks it.

use std::io::{Error, Read, Result};

use super::reply::{End, Framing, Reply, Wire, header};
use super::{Request, next_byte};

/// Reads a request; none where the connection ends instead.
pub(super) fn read_request(stream: &mut impl Read) -> Result<Option<Request>> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match next_byte(stream)? {
            Some(byte) => text.push(byte),
            None if text.is_empty() => return Ok(None),
            None => return Err(Error::other("half a request")),
        }
    }
    let text = String::from_utf8_lossy(&text);
    let request = parse(&text).ok_or_else(|| Error::other(format!("not a request: {text}")))?;
    if let Some(size) = field(&text, "content-length").and_then(|size| size.parse().ok()) {
        stream.read_exact(&mut vec![0; size])?;
    }
    Ok(Some(request))
}

fn parse(text: &str) -> Option<Request> {
    let mut words = text.lines().next()?.split(' ');
    let (method, uri) = (words.next()?, words.next()?);
    Some(Request::new(method, uri, field(text, "range")))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

/// The bytes of `reply` to `request`.
pub(super) fn render(reply: &Reply, request: &Request) -> Wire {
    let (status, headers, mut body) = reply.to(request);
    let mut lines = vec![format!("HTTP/1.1 {status} Scripted")];
    lines.extend(headers);
    match &reply.framing {
        Framing::Length => lines.push(format!("Content-Length: {}", body.len())),
        Framing::Chunked { .. } => lines.push("Transfer-Encoding: chunked".to_owned()),
        Framing::Close => {}
    }
    if reply.end != End::Keep {
        lines.push("Connection: close".to_owned());
    }

    let mut bytes = header(&lines, reply.header_size, 0);
    let header = bytes.len();
    if request.method != "HEAD" {
        match &reply.framing {
            Framing::Chunked { sizes, trailers } => {
                if let Some(good) = reply.breach_after {
                    body.truncate(good);
                }
                bytes.append(&mut chunked(&body, sizes, *trailers));
                if reply.breach_after.is_some() {
                    // Instead of the chunk that says that none follows.
                    let last = bytes.windows(3).rposition(|three| three == b"0\r\n");
                    bytes.truncate(last.expect("there is a last chunk"));
                    bytes.extend(b"zz\r\nzz\r\n");
                }
            }
            Framing::Length | Framing::Close => bytes.extend(body),
        }
        bytes.resize(bytes.len() + reply.extra, b'+');
    }
    Wire { bytes, header }
}

fn chunked(mut body: &[u8], sizes: &[usize], trailers: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for size in sizes.iter().cycle() {
        let Some(size) = Some(body.len().min(*size)).filter(|size| *size > 0) else {
            break;
        };
        let (chunk, rest) = body.split_at(size);
        bytes.extend(format!("{size:x}\r\n").bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
        body = rest;
    }
    bytes.extend(b"0\r\n");
    if trailers {
        bytes.extend(b"X-Trailer: one\r\nX-Trailer: two\r\n");
    }
    bytes.extend(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::reply::Body;
    use super::*;

    #[test]
    fn reads_a_request_with_a_range_and_its_body() {
        let text = b"PUT /a/b?c HTTP/1.1\r\nRange: bytes=5-9\r\nContent-Length: 2\r\n\r\nxyGET";
        let mut stream = &text[..];
        let request = read_request(&mut stream).unwrap().expect("a request");
        assert_eq!((&*request.method, &*request.path), ("PUT", "/a/b"));
        assert_eq!(request.range, Some((5, 9)));
        assert_eq!(stream, b"GET");
    }

    #[test]
    fn the_end_of_the_connection_is_no_request() {
        assert!(read_request(&mut &b""[..]).unwrap().is_none());
        assert!(read_request(&mut &b"GET"[..]).is_err());
    }

    #[test]
    fn cuts_chunks_by_size() {
        assert_eq!(
            chunked(b"abcde", &[2], false),
            b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"
        );
        assert_eq!(
            chunked(b"abc", &[1, 9], false),
            b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
        );
        assert_eq!(chunked(b"", &[1], false), b"0\r\n\r\n");
    }

    #[test]
    fn the_header_ends_where_asked() {
        let mut reply = Reply::new(Body::Text("body".into()));
        reply.header_size = Some(300);
        let wire = render(&reply, &Request::new("GET", "/", None));
        assert_eq!((wire.header, &wire.bytes[300..]), (300, &b"body"[..]));
    }
}
