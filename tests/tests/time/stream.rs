//! Events arrive when they are sent. The upstream sends each only when the
//! client has the one before, so nothing here depends on a clock: an event that
//! is held back is held back until the upstream gives up.

use std::io::{Read, Result};
use std::time::Duration;

use flate2::read::GzDecoder;
use pipe_tests::client::{Manner, Pace};
use pipe_tests::upstream::{Cuts, Framing, Hold, Point, Protocol, Reply};
use pipe_tests::{Binaries, binaries};

use crate::stage::{Outcome, Scene};

/// Bytes of an event.
const EVENT: usize = 120;

/// How many there are.
const EVENTS: usize = 4;

/// How long the upstream waits for an event that is held back.
const IN_VAIN: Duration = Duration::from_millis(150);

/// How long it waits for one that is to come.
const PATIENCE: Duration = Duration::from_secs(3);

/// All that the client is to have at some time: the header, then each event.
fn stops() -> impl Iterator<Item = usize> {
    (0..EVENTS).map(|nth| nth * EVENT)
}

/// A response of events, in step with the client.
fn events(protocol: Protocol, framing: &Framing, kind: &str, patience: Duration) -> Reply {
    // What has been compressed is not smaller, and can be waited for alike.
    let mut reply = Reply::random(1, EVENTS * EVENT);
    reply.headers.push(format!("Content-Type: {kind}"));
    reply.framing = framing.clone();
    reply.records.header_alone = true;
    reply.records.size = EVENT;

    let around = match (protocol, framing) {
        (Protocol::FastCgi, _) => 8,
        (_, Framing::Chunked { .. }) => "78\r\n\r\n".len(),
        _ => 0,
    };
    let stop = |size| {
        let point = Point::Body(size / EVENT * (EVENT + around));
        (point, Hold::Received(size, patience))
    };
    reply.cuts = Cuts::At(stops().map(stop).collect());
    reply
}

fn framings(protocol: Protocol) -> Vec<Framing> {
    let mut framings = vec![Framing::Length, Framing::Close];
    if protocol == Protocol::Http {
        framings.push(Framing::chunks(EVENT));
    }
    framings
}

/// Every event arrives, and those of `missed` only after the upstream has
/// waited for them in vain.
fn check(scene: &Scene, outcome: &Outcome, missed: &[usize]) {
    let Outcome { answer, .. } = outcome;
    let reply = &scene.reply;
    let is_gzip = answer.header("Content-Encoding") == Some("gzip");
    let mut body = Vec::new();
    match is_gzip {
        true => GzDecoder::new(&answer.body[..])
            .read_to_end(&mut body)
            .expect("gzip"),
        false => (&answer.body[..]).read_to_end(&mut body).expect("a slice"),
    };
    assert_eq!(body, reply.body.bytes(), "{:?}", scene.protocol);
    assert_eq!(is_gzip, scene.directives.contains("gzip"));
    assert_eq!(
        outcome.missed, missed,
        "{:?}, {:?}, {}",
        scene.protocol, reply.framing, scene.directives
    );
}

fn all() -> Vec<usize> {
    stops().collect()
}

/// Stock keeps back the header until some of the body is to follow, and what is
/// less than a buffer of the body unless it is in chunks.
#[test]
fn stock_keeps_events_back() -> Result<()> {
    let Binaries { stock, .. } = binaries()?;
    for protocol in Protocol::ALL {
        for framing in framings(protocol) {
            let reply = events(protocol, &framing, "text/event-stream", IN_VAIN);
            let scene = Scene::new(protocol, reply, "");
            let missed = match framing {
                Framing::Chunked { .. } => vec![0],
                _ => all(),
            };
            check(&scene, &scene.play(&stock)?, &missed);
        }
    }
    Ok(())
}

#[test]
fn events_arrive_at_once() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    for protocol in Protocol::ALL {
        for framing in framings(protocol) {
            let kind = "text/event-stream; charset=utf-8";
            let reply = events(protocol, &framing, kind, PATIENCE);
            let scene = Scene::new(protocol, reply, "");
            check(&scene, &scene.play(&ours)?, &[]);
        }
    }
    Ok(())
}

/// A frame for each; that of the header stock sends at once, too.
#[test]
fn events_arrive_at_once_over_http2() -> Result<()> {
    let Binaries { stock, ours } = binaries()?;
    for protocol in Protocol::ALL {
        let scene = |patience| {
            let reply = events(protocol, &Framing::Close, "text/event-stream", patience);
            let mut scene = Scene::new(protocol, reply, "");
            scene.http2 = true;
            scene
        };
        let in_vain = scene(IN_VAIN);
        check(&in_vain, &in_vain.play(&stock)?, &all()[1..]);
        let scene = scene(PATIENCE);
        check(&scene, &scene.play(&ours)?, &[]);
    }
    Ok(())
}

/// On their way through a cache, which has all of them; with a temporary file
/// that is sent, not read; compressed; with buffers of one event.
#[test]
fn events_arrive_at_once_whatever_else_is_done() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let cache = "@_cache @; @_cache_key k; @_cache_valid any 1h;";
    let ways = [
        cache.to_owned(),
        format!("{cache} sendfile on;"),
        format!("{cache} aio threads; aio_write on;"),
        "@_store on;".to_owned(),
        "@_buffers 2 1k; @_buffer_size 1k; @_busy_buffers_size 1k;".to_owned(),
        "event_pipe_wide off; event_pipe_lend 0;".to_owned(),
        "gzip on; gzip_types *; gzip_min_length 0;".to_owned(),
    ];
    for protocol in [Protocol::Http, Protocol::FastCgi] {
        for directives in &ways {
            let reply = events(protocol, &Framing::Close, "text/event-stream", PATIENCE);
            let mut scene = Scene::new(protocol, reply, directives);
            scene.request.headers = vec!["Accept-Encoding: gzip".to_owned()];
            check(&scene, &scene.play(&ours)?, &[]);
        }
    }
    Ok(())
}

/// The directive and the type decide.
#[test]
fn only_streams_are_passed_on() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let at_once: &[usize] = &[];
    let kept_back = &all()[..];
    for (directives, kind, missed) in [
        ("", "text/plain", kept_back),
        ("", "application/x-ndjson", at_once),
        (
            "event_pipe_stream auto;",
            "Multipart/X-Mixed-Replace;boundary=b",
            at_once,
        ),
        ("event_pipe_stream off;", "text/event-stream", kept_back),
        ("event_pipe_stream on;", "text/plain", at_once),
    ] {
        let patience = match missed {
            [] => PATIENCE,
            _ => IN_VAIN,
        };
        let reply = events(Protocol::Http, &Framing::Close, kind, patience);
        let scene = Scene::new(Protocol::Http, reply, directives);
        check(&scene, &scene.play(&ours)?, missed);
    }
    Ok(())
}

/// What trickles in while the client is slow fills buffers and goes to disk.
#[test]
fn large_bodies_arrive_whole() -> Result<()> {
    let Binaries { ours, .. } = binaries()?;
    let small = "event_pipe_stream on; @_buffers 4 1k; @_buffer_size 1k;\
                 @_busy_buffers_size 2k; @_temp_file_write_size 2k;";
    let cache = "@_cache @; @_cache_key k; @_cache_valid any 1h;";
    let ways = [
        small.to_owned(),
        format!("{small} @_max_temp_file_size 0;"),
        format!("{small} {cache}"),
        format!("{small} {cache} sendfile on;"),
        format!("{small} aio threads; aio_write on;"),
    ];
    for protocol in Protocol::ALL {
        for (nth, directives) in ways.iter().enumerate() {
            for manner in [
                Manner::FAST,
                Manner::at(Pace::Trickle(700)),
                Manner::STALLED,
            ] {
                let mut reply = Reply::random(nth as u64, 150_000);
                reply.framing = framings(protocol).pop().expect("there is one");
                reply.cuts = Cuts::Scattered {
                    seed: nth as u64,
                    count: 200,
                    hold: Hold::Moment,
                };
                let mut scene = Scene::new(protocol, reply, directives);
                scene.manner = manner;
                check(&scene, &scene.play(&ours)?, &[]);
            }
        }
    }
    Ok(())
}
