//! A FastCGI server that always gives the same answer, made before anybody
//! asks: the scripted one of the tests makes each anew, byte by byte.

use std::io::{BufReader, Read, Result, Write};
use std::net::TcpStream;

use super::server::Server;

const END_REQUEST: u8 = 3;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// The most that the content of a record can be.
const RECORD: usize = 0xffff;

/// Answers with a body of that size.
pub(crate) fn start(size: u64) -> Result<Server> {
    let answer = answer(size);
    Server::start(move |stream| serve(stream, &answer))
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, answer: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut header = [0; 8];
        requests.read_exact(&mut header)?;
        let [_, kind, _, _, high, low, padding, _] = header;
        let size = u16::from_be_bytes([high, low]);
        let mut content = vec![0; usize::from(size) + usize::from(padding)];
        requests.read_exact(&mut content)?;
        // The end of the standard input ends the request.
        if kind == STDIN && size == 0 {
            let mut stream = stream;
            stream.write_all(answer)?;
        }
    }
}

fn answer(size: u64) -> Vec<u8> {
    let mut text = format!("Status: 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    text.resize(text.len() + size as usize, 0);
    let mut bytes = Vec::with_capacity(text.len() + text.len() / 1000 + 100);
    for part in text.chunks(RECORD) {
        write_record(&mut bytes, STDOUT, part);
    }
    write_record(&mut bytes, STDOUT, &[]);
    write_record(&mut bytes, END_REQUEST, &[0; 8]);
    bytes
}

fn write_record(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let size = u16::try_from(content.len()).expect("a record's content fits");
    let [high, low] = size.to_be_bytes();
    bytes.extend([1, kind, 0, 1, high, low, 0, 0]);
    bytes.extend(content);
}
