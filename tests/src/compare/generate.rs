//! Random cases.

use super::case::{Case, Fault, Framing, Include, Listen, Location, Reply, Request};
use super::{focused, model};
use crate::random::Random;
use crate::upstream::Protocol;

/// Sets of buffers that nginx accepts, with the smallest temporary file for each.
pub(super) const BUFFERS: [(&str, usize); 5] = [
    (
        "@_buffer_size 1k; @_buffers 4 1k; @_busy_buffers_size 2k; @_temp_file_write_size 2k;",
        2 << 10,
    ),
    ("@_buffers 3 4k;", 8 << 10),
    ("@_buffers 16 8k; @_temp_file_write_size 16k;", 16 << 10),
    (
        "@_buffer_size 16k; @_buffers 4 32k; @_busy_buffers_size 64k; @_temp_file_write_size 64k;",
        64 << 10,
    ),
    ("@_buffers 64 4k; @_busy_buffers_size 128k;", 8 << 10),
];

/// This project's directives; defaults are taken most often.
const OURS: [&str; 17] = [
    "event_pipe_memory 0;",
    "event_pipe_memory 256k;",
    "event_pipe_memory 2m;",
    "event_pipe_memory 64m;",
    "event_pipe_wide off;",
    "event_pipe_stream on;",
    "event_pipe_stream off;",
    "event_pipe_spill_delay 1ms;",
    "event_pipe_spill_delay 20ms;",
    "event_pipe_spill_delay 500ms;",
    "event_pipe_spill_segments off;",
    "event_pipe_spill_fallback off;",
    "event_pipe_separate_timeouts off;",
    "event_pipe_max_chunk 0;",
    "event_pipe_max_chunk 1k;",
    "event_pipe_max_chunk 16k;",
    "event_pipe_extensions off;",
];

/// Types of responses that are passed on as they come.
const STREAMS: [&str; 3] = [
    "text/event-stream",
    "multipart/x-mixed-replace; boundary=b",
    "application/x-ndjson",
];

/// The case of a seed.
pub fn generate(seed: u64) -> Case {
    let mut random = Random::new(seed ^ 0x5eed_0000_0000_0000);
    match random.below(100) {
        0..=3 => stream(seed, &mut random),
        4..=6 => threads(seed, &mut random),
        7..=8 => focused::camera(seed, &mut random),
        9..=10 => focused::farewell(seed, &mut random),
        11..=12 => focused::loans(seed, &mut random),
        13..=14 => focused::living(seed, &mut random),
        _ => Maker::new(&mut random).case(seed),
    }
}

/// What all parts of a case are made with.
struct Maker<'r> {
    random: &'r mut Random,
    /// Whether bodies are large and clients slow.
    large: bool,
    /// Whether temporary files are small.
    spills: bool,
    /// Whether threads do all that they can for a stream.
    threads: bool,
}

impl<'r> Maker<'r> {
    fn new(random: &'r mut Random) -> Self {
        let large = random.once_in(10);
        let threads = random.once_in(10);
        let spills = large || threads || random.once_in(2);
        Self {
            random,
            large,
            spills,
            threads,
        }
    }

    fn maybe(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    fn case(&mut self, seed: u64) -> Case {
        let count = self.random.between(1, 4);
        let (listen, server) = (self.listen(), self.server());
        let locations = (0..count).map(|nth| self.location(nth, count)).collect();
        let mut case = Case {
            listen,
            server,
            ..Case::plain(seed, locations, Vec::new())
        };
        if self.maybe(45) {
            case.ours.push((*self.random.pick(&OURS)).to_owned());
        }
        if self.maybe(15) {
            self.break_one(&mut case);
        }
        let count = match self.spills {
            true => self.random.between(1, 3),
            false => self.random.between(1, 5),
        };
        let count = match stalls_nginx(&case) {
            true => {
                case.locations.iter_mut().for_each(simplify);
                1
            }
            false => count,
        };
        for _ in 0..count {
            let request = self.request(&case);
            case.requests.push(request);
        }
        let keeps = |case: &Case| {
            let lines = case.locations.iter().flat_map(|location| &location.conf);
            lines
                .clone()
                .any(|line| line.contains("_cache ") || line.contains("_store "))
        };
        if self.maybe(20) && !keeps(&case) {
            case.spare_descriptors = Some(self.random.below(3));
        }
        case
    }

    fn listen(&mut self) -> Listen {
        let slow = self.spills && self.maybe(80);
        Listen {
            http2: (self.threads || self.maybe(30))
                .then(|| *self.random.pick(&[16 << 10, 65_535, 256 << 10, 4 << 20])),
            tls: self.maybe(12),
            sndbuf: slow.then(|| *self.random.pick(&[8 << 10, 16 << 10, 64 << 10])),
            rcvbuf: slow.then(|| *self.random.pick(&[32 << 10, 64 << 10])),
            link: None,
        }
    }

    /// Directives that a server has.
    fn server(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |line: &str| lines.push(line.to_owned());
        if self.threads || self.maybe(60) {
            add("sendfile on;");
        }
        if self.threads || self.maybe(35) {
            add("aio threads;");
            if self.threads || self.maybe(75) {
                add("aio_write on;");
            }
        }
        for (percent, choices) in [
            (15, &["tcp_nopush on;"][..]),
            (
                15,
                &[
                    "sendfile_max_chunk 16k;",
                    "sendfile_max_chunk 128k;",
                    "sendfile_max_chunk 0;",
                ],
            ),
            (
                10,
                &[
                    "output_buffers 1 4k;",
                    "output_buffers 2 64k;",
                    "output_buffers 4 1k;",
                ],
            ),
            (15, &["postpone_output 0;", "postpone_output 8k;"]),
            (10, &["ssl_buffer_size 4k;", "ssl_buffer_size 1400;"]),
            (10, &["http2_chunk_size 1k;", "http2_chunk_size 64k;"]),
            (4, &["directio 4k;"]),
            (
                4,
                &["limit_rate 20m;", "limit_rate 100m; limit_rate_after 10k;"],
            ),
            (5, &["tcp_nodelay off;"]),
            (4, &["reset_timedout_connection on;"]),
        ] {
            if self.maybe(percent) {
                add(self.random.pick::<&str>(choices));
            }
        }
        lines
    }

    fn location(&mut self, nth: usize, count: usize) -> Location {
        let protocol = match self.maybe(60) {
            true => Protocol::Http,
            false => *self.random.pick(&Protocol::ALL),
        };
        let size = self.size();
        let mut location = Location {
            tls: (protocol == Protocol::Http && self.maybe(10))
                .then(|| *self.random.pick(&[1000, 4096, 16384])),
            sub: self.maybe(12),
            ..Location::plain(protocol, self.reply(size, protocol))
        };
        let others = nth + 1..count;
        if !others.is_empty() && self.maybe(if nth == 0 { 50 } else { 20 }) {
            self.compose(&mut location, others);
        }
        location.conf = self.conf(&location);
        if location.conf.iter().any(|line| line.contains("updating")) {
            // In the cache, and stale at once.
            location
                .reply
                .headers
                .push("X-Accel-Expires: @1".to_owned());
        }
        location
    }

    fn size(&mut self) -> usize {
        let most = match self.random.below(10) {
            0 => 100,
            1..=5 if self.spills => 300_000,
            6..=8 if self.spills => 600_000,
            1..=5 => 40_000,
            6..=8 => 200_000,
            _ if self.large => 3_000_000,
            _ => 600_000,
        };
        1 + self.random.below(most)
    }

    /// Has others included.
    fn compose(&mut self, location: &mut Location, others: std::ops::Range<usize>) {
        let mut other = || self.random.between(others.start, others.end - 1);
        match other() % 4 {
            0 => location.before = Some(other()),
            1 => location.after = Some(other()),
            _ => {}
        }
        if location.before.is_some() && self.maybe(50) {
            return;
        }
        let blocks = location.reply.size / model::BLOCK;
        let mut places: Vec<usize> = (0..self.random.between(1, 3))
            .map(|_| self.random.below(blocks + 1))
            .collect();
        places.sort_unstable();
        let include = |block| Include {
            block,
            location: self.random.between(others.start, others.end - 1),
            // nginx puts what is added after a page before the rest of one that
            // waits for an include.
            wait: location.after.is_none() && self.random.once_in(3),
        };
        location.includes = places.into_iter().map(include).collect();
    }

    fn conf(&mut self, location: &Location) -> Vec<String> {
        let mut lines = Vec::new();
        if self.maybe(35) {
            let value = if self.maybe(60) { "off" } else { "on" };
            lines.push(format!("sendfile {value};"));
        }
        if self.maybe(10) {
            let value = if self.maybe(50) { "off" } else { "threads" };
            lines.push(format!("aio {value};"));
        }
        let mut least = 8 << 10;
        if self.maybe(40) {
            let (line, write) = *self.random.pick(&BUFFERS);
            lines.push(line.to_owned());
            least = write;
        }
        if self.spills && self.maybe(80) || self.maybe(15) {
            let sizes = [0, 64 << 10, 64 << 10, 128 << 10, 256 << 10, 4 << 20];
            let size = *self.random.pick(&sizes);
            let size = if size == 0 { 0 } else { size.max(least) };
            lines.push(format!("@_max_temp_file_size {size};"));
        }
        let add = |line: &str, lines: &mut Vec<String>| lines.push(line.to_owned());
        for (percent, choices) in [
            (
                12,
                &["gzip on;", "gzip on; gzip_comp_level 6; gzip_buffers 4 4k;"][..],
            ),
            (
                8,
                &["charset windows-1251; source_charset koi8-r; override_charset on;"],
            ),
            (12, &["@_force_ranges on;"]),
            (4, &["@_ignore_client_abort on;"]),
            (3, &["limit_rate 20m;"]),
            (3, &["@_limit_rate 50m;", "@_limit_rate 5m;"]),
            (4, &["@_buffering off;"]),
            (4, &["@_store PREFIX/store$uri;"]),
            (3, &["postpone_output 0;"]),
        ] {
            if self.maybe(percent) {
                add(self.random.pick::<&str>(choices), &mut lines);
            }
        }
        let is_stored = lines.iter().any(|line| line.starts_with("@_store"));
        if !is_stored && self.maybe(10) {
            add(
                "@_cache @; @_cache_valid any 1h; @_cache_key $uri$slice_range;",
                &mut lines,
            );
            // Pages whose parts wait for each other would wait for long.
            if location.includes.is_empty() && self.maybe(30) {
                add("@_cache_lock on;", &mut lines);
            }
            if self.maybe(40) {
                add(
                    "@_cache_use_stale updating; @_cache_background_update on;",
                    &mut lines,
                );
            }
        }
        let may_slice = location.protocol == Protocol::Http && location.includes.is_empty();
        if may_slice && self.maybe(6) {
            add(
                self.random.pick::<&str>(&["slice 64k;", "slice 10k;"]),
                &mut lines,
            );
        }
        lines
    }

    fn reply(&mut self, size: usize, protocol: Protocol) -> Reply {
        let framing = match self.random.below(10) {
            0..=4 => Framing::Length,
            5..=7 if matches!(protocol, Protocol::Http | Protocol::FastCgi) => {
                Framing::Chunks(*self.random.pick(&[1000, 4096, 8192, 65_000, 300_000]))
            }
            _ => Framing::Close,
        };
        let pauses = self.maybe(40).then(|| {
            let step = self.random.between(size / 20, size) + 500;
            (step, self.share(&[2_000, 10_000, 30_000], size, step))
        });
        Reply {
            pauses,
            extra: match framing == Framing::Length && self.maybe(4) {
                true => 1 + self.random.below(5000),
                false => 0,
            },
            ..Reply::plain(size, framing)
        }
    }

    /// The part of a time in all, in microseconds, for each step.
    fn share(&mut self, times: &[u64], size: usize, step: usize) -> u64 {
        let steps = (size / step + 1) as u64;
        (self.random.pick(times) / steps).max(50)
    }

    /// Has one reply break.
    fn break_one(&mut self, case: &mut Case) {
        let nth = self.random.below(case.locations.len());
        let location = &mut case.locations[nth];
        let at = self.random.below(location.reply.size);
        let reply = &mut location.reply;
        reply.extra = 0;
        // Slices are asked for one by one, and each would break.
        location.conf.retain(|line| !line.starts_with("slice"));
        reply.fault = Some(match self.random.below(4) {
            0 => Fault::Close(at),
            1 => Fault::Reset(at),
            _ => Fault::Breach(at),
        });
        match (reply.fault, location.protocol) {
            (Some(Fault::Breach(_)), Protocol::FastCgi) => {}
            (Some(Fault::Breach(_)), _) => {
                location.protocol = Protocol::Http;
                if !matches!(reply.framing, Framing::Chunks(_)) {
                    reply.framing = Framing::Chunks(4096);
                }
            }
            // An end that looks right would be taken for one.
            (Some(Fault::Close(_)), _) if reply.framing == Framing::Close => {
                reply.framing = Framing::Length;
            }
            (Some(Fault::Close(_)), Protocol::FastCgi) => reply.framing = Framing::Length,
            _ => {}
        }
    }

    fn request(&mut self, case: &Case) -> Request {
        let location = match self.maybe(50) {
            true => 0,
            false => self.random.below(case.locations.len()),
        };
        let mut request = Request {
            location,
            old: self.maybe(12),
            range: None,
            gzip: self.maybe(30),
            delay: if self.maybe(30) {
                self.random.below(5000) as u64
            } else {
                0
            },
            gulps: None,
            leaves: None,
        };
        let size: usize = case
            .tree(location)
            .into_iter()
            .map(|part| case.locations[part].reply.size)
            .sum();
        let here = &case.locations[location];
        // A filter that gives a part up is not known to what asks for slices.
        let slices = here.conf.iter().any(|line| line.starts_with("slice"));
        if here.includes.is_empty() && !slices && self.maybe(10) {
            let first = self.random.below(case.locations[location].reply.size);
            request.range = Some((first, first + self.random.below(size)));
        }
        if self.maybe(if self.spills { 75 } else { 30 }) {
            let gulp = *self.random.pick(&[10_000, 30_000, 100_000, 300_000]);
            let times: &[u64] = match self.spills {
                true => &[15_000, 40_000, 80_000],
                false => &[3_000, 10_000],
            };
            request.gulps = Some((gulp, self.share(times, size, gulp)));
        }
        if self.maybe(6) {
            request.leaves = Some(1 + self.random.below(size));
        }
        request
    }
}

/// Whether nginx itself forgets and cuts streams when a page has parts: by HTTP/2,
/// where threads send files.
fn stalls_nginx(case: &Case) -> bool {
    let has = |line: &str| {
        let own = case.locations.iter().flat_map(|location| &location.conf);
        case.server.iter().chain(own).any(|has| has == line)
    };
    case.listen.http2.is_some() && has("sendfile on;") && has("aio threads;")
}

/// Leaves a location without parts.
fn simplify(location: &mut Location) {
    location.includes.clear();
    location.before = None;
    location.after = None;
}

/// A case in which threads write and send the files of several streams while their
/// upstreams go on sending. Nothing else happens there, as nginx itself goes wrong
/// when a page has parts.
fn threads(seed: u64, random: &mut Random) -> Case {
    let count = random.between(4, 5);
    let gulps = (30_000, *random.pick(&[100, 300]));
    let pauses = *random.pick(&[(100_000, 2000), (300_000, 5000)]);
    let limit = *random.pick(&[512 << 10, 1 << 20]);
    let sndbuf = random.once_in(2).then_some(64 << 10);
    let location = |_| Location {
        conf: vec![format!("@_max_temp_file_size {limit};")],
        ..Location::plain(
            Protocol::Http,
            Reply {
                pauses: Some(pauses),
                ..Reply::plain(random.between(1_000_000, 2_000_000), Framing::Length)
            },
        )
    };
    let request = |location| Request {
        gulps: Some(gulps),
        ..Request::plain(location)
    };
    let locations = (0..count).map(location).collect();
    let requests = (0..count).map(request).collect();
    Case {
        listen: Listen {
            http2: Some(1 << 20),
            tls: false,
            sndbuf,
            rcvbuf: Some(128 << 10),
            link: None,
        },
        server: ["sendfile on;", "aio threads;", "aio_write on;"]
            .map(str::to_owned)
            .to_vec(),
        ..Case::plain(seed, locations, requests)
    }
}

/// A case in which what upstream has sent must not be held back.
fn stream(seed: u64, random: &mut Random) -> Case {
    let mut maker = Maker {
        random,
        large: false,
        spills: false,
        threads: false,
    };
    let is_known = maker.maybe(50);
    let mut main = maker.location(0, 1);
    main.sub = false;
    main.tls = None;
    main.conf.clear();
    let size = 4000 + maker.random.below(60_000);
    let framing = match maker.maybe(50) {
        true => Framing::Length,
        false => Framing::Close,
    };
    main.reply = Reply::plain(size, framing);
    if main.protocol == Protocol::FastCgi {
        main.protocol = Protocol::Http;
    }
    if is_known {
        main.reply.headers = vec![format!("Content-Type: {}", maker.random.pick(&STREAMS))];
    }
    let mut other = maker.location(1, 2);
    other.sub = false;
    other.conf.clear();
    let mut from = 0;
    match maker.random.below(3) {
        0 => main.before = Some(1),
        1 => {
            from = maker.random.below(main.reply.size / 2);
            main.includes.push(Include {
                block: from / model::BLOCK,
                location: 1,
                wait: false,
            });
        }
        _ => {}
    }
    let hold = maker.random.between(from + 200, main.reply.size - 200);
    let included: usize = match main.includes.is_empty() {
        true => 0,
        false => 200,
    };
    main.reply.holds.push(hold + included);
    let mut server = vec!["postpone_output 0;".to_owned()];
    if maker.maybe(50) {
        server.push("sendfile on;".to_owned());
    }
    let mut listen = maker.listen();
    listen.tls = false;
    let request = Request {
        old: maker.maybe(20),
        ..Request::plain(0)
    };
    Case {
        listen,
        server,
        ours: match is_known {
            true => Vec::new(),
            false => vec!["event_pipe_stream on;".to_owned()],
        },
        streams: true,
        ..Case::plain(seed, vec![main, other], vec![request])
    }
}
