//! The defects of nginx's own pipe that this one does not have: each test shows
//! stock failing in just this way, and ours being right. There are no other
//! differences. D3 shows only under a memory checker (see `checker.rs`): the
//! sanitizers, unless the environment asks for valgrind.

use std::fs::File;
use std::io::{Error, Result};
use std::process::Command;

use pipe_tests::build::Source;
use pipe_tests::checker::Checker;
use pipe_tests::client::Answer;
use pipe_tests::traffic::{
    Buffers, Case, Flavour, Outcome, World, cancel_with_frames_queued, check,
};
use pipe_tests::upstream::{End, Framing, Protocol, Reply};

const SIZE: usize = 3000;

/// Of one case: what stock makes of it. What ours makes of it is right.
fn stock(case: &Case) -> Result<Outcome> {
    let binaries = pipe_tests::binaries()?;
    let world = World::start(Flavour::EPOLL, std::slice::from_ref(case), &binaries)?;
    let (stock, ours) = world.outcomes(0, case)?;
    check(case, &ours)?;
    world.stop()?;
    Ok(stock)
}

/// The header leaves no byte of its buffer free.
fn full_header(protocol: Protocol, framing: Framing) -> Case {
    let buffers = Buffers::SMALL;
    let mut reply = Reply::random(1, SIZE);
    reply.framing = framing;
    reply.header_size = Some(buffers.header);
    reply.records.header_alone = true;
    Case::new("full-header", protocol, reply).conf(&buffers.to_string())
}

fn is_empty_but_complete(answer: &Answer) -> bool {
    answer.status == 200 && answer.complete && answer.body.is_empty()
}

/// The buffer without room is passed to readv(), whose 0 is taken for the end.
#[test]
fn d1_full_header_with_a_length() -> Result<()> {
    for protocol in [Protocol::Http, Protocol::Scgi, Protocol::Uwsgi] {
        let stock = stock(&full_header(protocol, Framing::Length))?;
        let answer = &stock.answers[0];
        assert_eq!((answer.complete, answer.body.len()), (false, 0));
        let line = "prematurely closed connection";
        assert!(
            stock.log.iter().any(|kind| kind.contains(line)),
            "{stock:?}"
        );
    }
    Ok(())
}

#[test]
fn d1_full_header_and_the_connection_ends_the_body() -> Result<()> {
    for protocol in Protocol::ALL {
        let stock = stock(&full_header(protocol, Framing::Close))?;
        assert!(is_empty_but_complete(&stock.answers[0]), "{stock:?}");
        assert!(stock.log.is_empty(), "{stock:?}");
    }
    Ok(())
}

/// With a cache, its own header precedes the response's in the same buffer; of
/// all sizes of the latter, one fills the rest.
#[test]
fn d1_full_header_is_cached_without_its_body() -> Result<()> {
    let sizes = 600..720;
    let cases: Vec<Case> = sizes.map(cached_with_header).collect();
    let binaries = pipe_tests::binaries()?;
    let world = World::start(Flavour::EPOLL, &cases, &binaries)?;
    let mut empty = 0;
    for (nth, case) in cases.iter().enumerate() {
        let (stock, ours) = world.outcomes(nth, case)?;
        if [&stock, &ours]
            .iter()
            .all(|side| side.answers[0].status == 502)
        {
            // Too big for it.
            continue;
        }
        check(case, &ours)?;
        if check(case, &stock).is_err() {
            assert!(stock.answers.iter().all(is_empty_but_complete), "{stock:?}");
            assert_eq!(stock.answers[1].header("X-Cache"), Some("HIT"));
            empty += 1;
        }
    }
    // The key of the cache has another size with another number of digits.
    assert!((1..=3).contains(&empty), "{empty} sizes fill the buffer");
    world.stop()
}

fn cached_with_header(size: usize) -> Case {
    let mut reply = Reply::random(2, SIZE);
    reply.framing = Framing::Close;
    reply.header_size = Some(size);
    cached(Case::new("cached", Protocol::Http, reply).conf(&Buffers::SMALL.to_string()))
}

/// The second time, the response comes from the cache.
fn cached(case: Case) -> Case {
    case.conf("@_cache @; @_cache_key $uri; @_cache_valid any 1h;")
        .conf("add_header X-Cache $upstream_cache_status;")
        .then(|exchange| exchange.expect.headers = vec![("X-Cache", "HIT")])
}

/// All of a response came and less than a buffer of it waits when the
/// connection is reset: the rest is never sent, and nobody is told.
#[test]
fn d2_reset_after_a_whole_response() -> Result<()> {
    let mut reply = Reply::random(3, SIZE);
    reply.framing = Framing::Close;
    reply.end = End::Reset;
    let case = Case::new("reset", Protocol::FastCgi, reply);
    let conf = "fastcgi_buffer_size 4k; fastcgi_buffers 4 4k;";

    let uncached = stock(&case.clone().conf(conf))?;
    assert!(is_empty_but_complete(&uncached.answers[0]), "{uncached:?}");

    let stock = stock(&cached(case.conf(conf)))?;
    assert!(is_empty_but_complete(&stock.answers[0]), "{stock:?}");
    assert_eq!(stock.answers[1].body.len(), SIZE);
    Ok(())
}

/// What an HTTP/2 client has been given after it cancelled the stream is
/// received into again and then freed, although frames of it are still queued.
#[test]
fn d3_cancelled_stream_with_frames_queued() -> Result<()> {
    let binaries = pipe_tests::checked_binaries()?;

    let (survives, leftovers) = cancel_with_frames_queued(&binaries.ours)?;
    leftovers.check()?;
    assert!(survives, "the worker ends");

    let (survives, leftovers) = cancel_with_frames_queued(&binaries.stock)?;
    if has_d3_fixed()? {
        eprintln!("stock of this version has no D3");
        assert!(survives, "the worker ends");
        return leftovers.check();
    }
    let report = leftovers.reports.concat();
    let error = Checker::from_env_or_sanitizers()?.use_after_free();
    assert!(report.contains(error), "{leftovers:#?}");
    assert!(report.contains("ngx_event_pipe_read_upstream"), "{report}");
    Ok(())
}

/// Whether stock's is the pipe of nginx 1.30.6, by cksum(1).
fn has_d3_fixed() -> Result<bool> {
    let source = Source::from_env().map_err(Error::other)?;
    let pipe = source.tree().join("src/event/ngx_event_pipe.c");
    let output = Command::new("cksum").stdin(File::open(pipe)?).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "350747857 28305")
}
