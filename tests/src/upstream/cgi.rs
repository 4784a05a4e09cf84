//! SCGI and uwsgi as a scripted upstream speaks them: two ways to put the
//! request, one answer.

use std::io::{Error, Read, Result};

use super::reply::{Framing, Reply, Wire, header};
use super::{Request, next_byte};

/// Reads an SCGI request: a netstring of variables, then the body.
pub(super) fn read_scgi(stream: &mut impl Read) -> Result<Option<Request>> {
    let mut size = 0;
    loop {
        match next_byte(stream)? {
            Some(digit @ b'0'..=b'9') => size = size * 10 + usize::from(digit - b'0'),
            Some(b':') => break,
            None if size == 0 => return Ok(None),
            _ => return Err(Error::other("not a netstring")),
        }
    }
    let mut text = vec![0; size + 1];
    stream.read_exact(&mut text)?;
    let mut words = text[..size].split(|byte| *byte == 0);
    let mut variables = Vec::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        variables.push((name.to_vec(), value.to_vec()));
    }
    finish(stream, &variables)
}

/// Reads a uwsgi request: a packet of variables, then the body.
pub(super) fn read_uwsgi(stream: &mut impl Read) -> Result<Option<Request>> {
    let Some(_modifier) = next_byte(stream)? else {
        return Ok(None);
    };
    let mut rest = [0; 3];
    stream.read_exact(&mut rest)?;
    let size = u16::from_le_bytes([rest[0], rest[1]]);
    let mut packet = vec![0; size.into()];
    stream.read_exact(&mut packet)?;

    let mut packet = &packet[..];
    let mut variables = Vec::new();
    while !packet.is_empty() {
        variables.push((word(&mut packet)?, word(&mut packet)?));
    }
    finish(stream, &variables)
}

fn word(packet: &mut &[u8]) -> Result<Vec<u8>> {
    let mut size = [0; 2];
    packet.read_exact(&mut size)?;
    let mut word = vec![0; u16::from_le_bytes(size).into()];
    packet.read_exact(&mut word)?;
    Ok(word)
}

fn finish(stream: &mut impl Read, variables: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<Request>> {
    let request = Request::from_variables(variables)?;
    stream.read_exact(&mut vec![0; request.body])?;
    Ok(Some(request))
}

/// The bytes of `reply` to `request`.
pub(super) fn render(reply: &Reply, request: &Request) -> Wire {
    let (status, headers, body) = reply.to(request);
    let lines = header_lines(reply, status, headers, body.len());
    let mut bytes = header(&lines, reply.header_size, 0);
    let header = bytes.len();
    if request.method != "HEAD" {
        bytes.extend(body);
        bytes.resize(bytes.len() + reply.extra, b'+');
    }
    Wire { bytes, header }
}

/// A header as CGI wants it.
pub(super) fn header_lines(
    reply: &Reply,
    status: u16,
    headers: Vec<String>,
    size: usize,
) -> Vec<String> {
    let mut lines = vec![format!("Status: {status} Scripted")];
    lines.extend(headers);
    if reply.framing == Framing::Length {
        lines.push(format!("Content-Length: {size}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_scgi() {
        let text = b"45:REQUEST_METHOD\0GET\0REQUEST_URI\0/a?b\0X\0\0LEFT\0o\0,";
        let text = [&b"45"[..], &text[2..]].concat();
        let inner = text.len() - 4;
        let text = [format!("{inner}").as_bytes(), &text[2..]].concat();
        let request = read_scgi(&mut &text[..]).unwrap().expect("a request");
        assert_eq!((&*request.method, &*request.path), ("GET", "/a"));
    }

    #[test]
    fn reads_uwsgi_with_its_body() {
        let mut packet = Vec::new();
        for text in [
            "REQUEST_METHOD",
            "PUT",
            "REQUEST_URI",
            "/a",
            "CONTENT_LENGTH",
            "3",
        ] {
            packet.extend((text.len() as u16).to_le_bytes());
            packet.extend(text.bytes());
        }
        let size = (packet.len() as u16).to_le_bytes();
        let text = [&[0, size[0], size[1], 0], &packet[..], b"abcrest"].concat();
        let mut stream = &text[..];
        let request = read_uwsgi(&mut stream).unwrap().expect("a request");
        assert_eq!((&*request.method, &*request.path), ("PUT", "/a"));
        assert_eq!(stream, b"rest");
    }
}
