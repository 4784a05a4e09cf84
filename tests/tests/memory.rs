//! The worker's memory for clients that are behind: what stays in it, what does not, and
//! that it goes back.

use std::fs;
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pipe_tests::checker::Checker;
use pipe_tests::client::{Manner, connect};
use pipe_tests::server::wait;
use pipe_tests::time::VirtualTime;
use pipe_tests::upstream::{Body, Framing, Reply};
use pipe_tests::{Stage, binaries};

/// Far more than sockets and buffers hold.
const SIZE: usize = 6 << 20;

/// What may be in sockets and buffers, at the most.
const ELSEWHERE: usize = 1 << 20;

/// The worker's memory where it is to be too little, and what one response may keep of it:
/// half of what is not the reserve of 1m.
const LITTLE: &str = "event_pipe_memory 4m;";
const SHARE: usize = (3 << 20) / 2;

/// Where there is enough of it.
const ENOUGH: &str = "event_pipe_memory 64m;";

/// Longer than memory may be idle.
const LONG: Duration = Duration::from_secs(61);

/// A body that tells where each of its lines belongs, and whose it is.
fn body(of: usize, size: usize) -> String {
    let line = |nth| format!("{of:03} {nth:011}\n");
    (0..size / 16).map(line).collect()
}

fn start(directives: &str, time: Option<&VirtualTime>) -> Result<Stage> {
    start_with(&binaries()?.ours, directives, time)
}

fn start_with(nginx: &Path, directives: &str, time: Option<&VirtualTime>) -> Result<Stage> {
    Stage::start(nginx, |conf| {
        conf.env = time.map_or_else(Vec::new, VirtualTime::env);
        conf.listen("sndbuf=16k");
        conf.server += &format!(
            "{directives}\n\
             location / {{ proxy_pass http://peer; }}\n\
             location /status {{ event_pipe_status prometheus; }}\n\
             location = /ready {{ return 204; }}\n"
        );
    })
}

/// Has a client that reads nothing before upstream is done get a body.
fn get(stage: &Stage, of: usize, framing: Framing) -> Result<()> {
    let path = format!("/{of}");
    let text = body(of, SIZE);
    let mut reply = Reply::new(Body::Text(text.clone().into()));
    reply.framing = framing;
    stage.play(&path, reply);
    let answer = stage.ask(&path, Manner::STALLED)?;
    match answer.body == text.as_bytes() {
        true => Ok(()),
        false => Err(Error::other(format!("{path} is not whole, or not its own"))),
    }
}

/// Resident bytes of the one worker.
fn resident(stage: &Stage) -> Result<usize> {
    let worker = stage.nginx.workers()[0];
    let status = fs::read_to_string(format!("/proc/{worker}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: Option<usize> = kib.and_then(|kib| kib.parse().ok());
    Ok(kib.ok_or_else(|| Error::other("no VmRSS"))? << 10)
}

#[test]
fn what_a_slow_client_has_yet_to_take_stays_in_memory() -> Result<()> {
    let stage = start(ENOUGH, None)?;
    for (of, framing) in [Framing::Length, Framing::chunks(1000)]
        .into_iter()
        .enumerate()
    {
        get(&stage, of, framing)?;
    }
    assert_eq!(stage.total("spilled_bytes")?, 0);
    assert_eq!(stage.total("blocked_count")?, 0);
    assert!(stage.total("lent_bytes")? as usize > 2 * (SIZE - ELSEWHERE));
    stage.stop()
}

/// The oldest data makes room, so the disk gets what is more than the share.
#[test]
fn what_is_more_than_the_share_is_spilled() -> Result<()> {
    for more in ["", "aio threads; aio_write on;", "sendfile on;"] {
        let stage = start(&format!("{LITTLE} {more}"), None)?;
        get(&stage, 0, Framing::Length)?;
        let spilled = stage.total("spilled_bytes")? as usize;
        let expected = SIZE - SHARE - ELSEWHERE..=SIZE - SHARE / 2;
        assert!(expected.contains(&spilled), "{spilled} with {more:?}");
        stage.stop()?;
    }
    Ok(())
}

/// Each of many clients gets its own bytes, whoever has had the memory before.
#[test]
fn the_memory_of_many_is_not_mixed_up() -> Result<()> {
    for more in ["", "aio threads; aio_write on;", "event_pipe_memory 256k;"] {
        let directives = match more.contains("memory") {
            true => more.to_owned(),
            false => format!("{LITTLE} {more}"),
        };
        let stage = start(&directives, None)?;
        let whole: Vec<Result<()>> = thread::scope(|scope| {
            let ask = |of| {
                let stage = &stage;
                scope.spawn(move || get(stage, of, Framing::Length))
            };
            let clients: Vec<_> = (0..8).map(ask).collect();
            let join = |client: thread::ScopedJoinHandle<'_, _>| client.join().expect("no panic");
            clients.into_iter().map(join).collect()
        });
        whole.into_iter().collect::<Result<()>>()?;
        stage.stop()?;
    }
    Ok(())
}

/// Asks for a body, and waits until all of it is lent memory, or in sockets and buffers.
fn ask_and_wait(stage: &Stage, of: usize) -> Result<TcpStream> {
    let path = format!("/{of}");
    let reply = Reply::new(Body::Text(body(of, SIZE).into()));
    stage.play(&path, reply);
    let before = stage.gauge("lent_now_bytes")?;
    let mut client = connect(stage.address(), true)?;
    client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let least = before + (SIZE - ELSEWHERE) as u64;
    match wait(|| stage.gauge("lent_now_bytes").is_ok_and(|now| now >= least)) {
        true => Ok(client),
        false => Err(Error::other(format!("{path} is not in memory"))),
    }
}

fn expect_whole(mut client: TcpStream, of: usize) -> Result<()> {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    assert!(answer.ends_with(format!("\r\n\r\n{}", body(of, SIZE)).as_bytes()));
    Ok(())
}

/// A worker that is to exit has what is in its memory sent first.
#[test]
fn what_is_in_memory_outlives_reload_and_quit() -> Result<()> {
    let stage = start(ENOUGH, None)?;
    let first = ask_and_wait(&stage, 0)?;
    stage.nginx.begin_reload()?;
    expect_whole(first, 0)?;

    let second = ask_and_wait(&stage, 1)?;
    stage.nginx.quit();
    assert!(wait(|| TcpStream::connect(stage.address()).is_err()));
    expect_whole(second, 1)?;
    stage.end().map(drop)
}

/// A client that leaves takes nothing with it.
#[test]
fn memory_comes_back_when_a_client_leaves() -> Result<()> {
    let stage = start(ENOUGH, None)?;
    let leaves = ask_and_wait(&stage, 0)?;
    let stays = ask_and_wait(&stage, 1)?;
    drop(leaves);
    let least = (SIZE + ELSEWHERE) as u64;
    let comes_back = || stage.gauge("lent_now_bytes").is_ok_and(|now| now < least);
    assert!(wait(comes_back), "{}", stage.gauge("lent_now_bytes")?);

    // Whoever gets that memory next gets none of the bytes that were there.
    let next = ask_and_wait(&stage, 2)?;
    expect_whole(stays, 1)?;
    expect_whole(next, 2)?;
    stage.stop()
}

/// Zero has upstream held back, whatever memory there is.
#[test]
fn without_a_temporary_file_nothing_is_kept() -> Result<()> {
    let stage = start(&format!("{ENOUGH} proxy_max_temp_file_size 0;"), None)?;
    get(&stage, 0, Framing::Length)?;
    assert_eq!(stage.total("spilled_bytes")?, 0);
    assert!(stage.total("blocked_count")? > 0);
    stage.stop()
}

/// By default, a client that is behind has memory, and so has one in a location that says
/// `auto` again.
#[test]
fn there_is_memory_by_default() -> Result<()> {
    let again = "event_pipe_memory 0;
        location /0 { event_pipe_memory auto; proxy_pass http://peer; }";
    for directives in ["", again] {
        let stage = start(directives, None)?;
        get(&stage, 0, Framing::Length)?;
        assert_eq!(stage.total("spilled_bytes")?, 0, "{directives}");
        let lent = stage.total("lent_bytes")? as usize;
        assert!(lent > SIZE - ELSEWHERE, "{directives}");
        stage.stop()?;
    }
    Ok(())
}

/// A worker that may map 256 MiB lends a sixteenth of them.
#[test]
fn by_default_a_worker_lends_what_is_little_beside_its_limits() -> Result<()> {
    if Checker::from_env()?.is_some() {
        return Ok(()); // takes more memory than that for itself
    }

    let nginx = binaries()?.ours;
    let dir = tempfile::tempdir()?;
    let limited = dir.path().join("nginx");
    let script = format!(
        "#!/bin/sh\nulimit -v 262144\nexec {} \"$@\"\n",
        nginx.display()
    );
    fs::write(&limited, script)?;
    fs::set_permissions(&limited, fs::Permissions::from_mode(0o755))?;

    for (nginx, expected) in [
        (&limited, 16 << 20..=16 << 20),
        (&nginx, 1 << 20..=256 << 20),
    ] {
        let stage = start_with(nginx, "", None)?;
        get(&stage, 0, Framing::Length)?;
        let limit = stage.gauge("loan_limit_bytes")?;
        assert!(expected.contains(&limit), "{limit}");
        stage.stop()?;
    }
    Ok(())
}

#[test]
fn idle_memory_goes_back_to_the_system() -> Result<()> {
    let time = VirtualTime::new()?;
    let stage = start(ENOUGH, Some(&time))?;
    stage.await_worker()?;
    let before = resident(&stage)?;
    get(&stage, 0, Framing::Length)?;
    let used = resident(&stage)?;
    assert!(used > before + SIZE / 2, "{before}, {used}");

    time.advance(LONG)?;
    let has_gone = || resident(&stage).is_ok_and(|now| now < used - SIZE / 2);
    assert!(wait(has_gone), "{before}, {used}, {}", resident(&stage)?);
    stage.stop()
}
