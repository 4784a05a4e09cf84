//! What is measured: families of cells, each family one kind of traffic, each
//! cell one size of the body.

use std::fmt;
use std::time::Duration;

pub(crate) const K: u64 = 1024;
pub(crate) const M: u64 = 1024 * K;

/// From less than one buffer to far more than all of them.
const ALL_SIZES: &[u64] = &[
    K,
    4 * K,
    16 * K,
    57 * K,
    100 * K,
    250 * K,
    777 * K,
    2 * M,
    7 * M,
    10 * M,
];

/// What a program does for a response, roughly: only decides how many responses
/// make a round.
const COST_PER_RESPONSE: Duration = Duration::from_micros(40);
const COST_PER_MIB: Duration = Duration::from_millis(1);

/// A client that is paced spends most of its time waiting.
const PACED_ROUND: u32 = 4;

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// nginx with its own pipe.
    Stock,
    /// nginx with this project's.
    Ours,
    /// The same, with nothing but the memory that stock has.
    Unlent,
    /// This project's, without a limit on what its pipes move in a cycle of events.
    Unbounded,
    /// This project's, which counts for a status page, but has no zones.
    Counted,
    /// The same with 64 zones, by a variable.
    Zoned,
    /// HAProxy, which copies.
    Haproxy,
    /// HAProxy with `option splice-response`.
    Splicing,
}

impl Side {
    /// Those whose CPU time is compared, stock first.
    pub(crate) const COMPARED: [Self; 5] = [
        Self::Stock,
        Self::Ours,
        Self::Unlent,
        Self::Haproxy,
        Self::Splicing,
    ];

    pub(crate) fn is_nginx(self) -> bool {
        !matches!(self, Self::Haproxy | Self::Splicing)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stock => "stock",
            Self::Ours => "ours",
            Self::Unlent => "ours, unlent",
            Self::Unbounded => "ours, unbounded",
            Self::Counted => "ours, counted",
            Self::Zoned => "ours, 64 zones",
            Self::Haproxy => "HAProxy",
            Self::Splicing => "HAProxy, splicing",
        })
    }
}

/// The buffers that nginx is given for a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    pub(crate) number: u32,
    pub(crate) size: &'static str,
    /// The size of those that may be busy; none is nginx's own choice.
    pub(crate) busy: Option<&'static str>,
}

/// How the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

impl Speech {
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }
}

/// Where the responses come from and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP from the upstream to the client.
    Proxy,
    /// The same, and each response is stored in the cache.
    Cache,
    /// FastCGI from the upstream.
    FastCgi,
}

/// One kind of traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) way: Way,
    pub(crate) speech: Speech,
    pub(crate) buffers: Buffers,
    /// Whether what the client does not take yet may go to a temporary file.
    pub(crate) spills: bool,
    /// The bytes that a client reads in a second; none is all that come.
    pub(crate) pace: Option<u64>,
    /// What the kernel is asked to hold for a client with a pace, so that it is
    /// seen to be slow; it holds twice as much.
    pub(crate) sndbuf: u64,
    /// How many responses are under way at a time.
    pub(crate) clients: u64,
    pub(crate) sides: &'static [Side],
    pub(crate) sizes: &'static [u64],
    pub(crate) quick: &'static [u64],
}

const DEFAULT: Buffers = Buffers {
    number: 8,
    size: "4k",
    busy: None,
};

const MANY: Buffers = Buffers {
    number: 16384,
    ..DEFAULT
};

pub(crate) const PLAIN: Family = Family {
    name: "plain",
    title: "HTTP/1.1, the default buffers: 8 of 4k, busy 8k",
    way: Way::Proxy,
    speech: Speech::Http1,
    buffers: DEFAULT,
    spills: false,
    pace: None,
    sndbuf: 64 * K,
    clients: 8,
    sides: &Side::COMPARED,
    sizes: ALL_SIZES,
    quick: &[4 * K, 57 * K, 777 * K, 7 * M],
};

const PIPES: &[Side] = &[Side::Stock, Side::Ours];

const COPYING_OR_SPLICING: &[Side] = &[Side::Stock, Side::Ours, Side::Haproxy, Side::Splicing];

const ZONES: &[Side] = &[Side::Stock, Side::Counted, Side::Zoned];

/// What is encrypted or framed cannot be spliced.
const COPYING: &[Side] = &[Side::Stock, Side::Ours, Side::Haproxy];

/// All that there is.
pub(crate) const FAMILIES: &[Family] = &[
    PLAIN,
    Family {
        name: "zones",
        title: "small responses, counted in one zone and in 64",
        sides: ZONES,
        sizes: &[K, 16 * K],
        quick: &[K],
        ..PLAIN
    },
    Family {
        name: "busy24k",
        title: "HTTP/1.1, 8 buffers of 4k, busy 24k",
        buffers: Buffers {
            busy: Some("24k"),
            ..DEFAULT
        },
        sides: PIPES,
        quick: &[7 * M],
        ..PLAIN
    },
    Family {
        name: "tuned",
        title: "HTTP/1.1, 8 buffers of 64k, busy 384k",
        buffers: Buffers {
            size: "64k",
            busy: Some("384k"),
            ..DEFAULT
        },
        sides: PIPES,
        quick: &[57 * K, 777 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "many",
        title: "HTTP/1.1, 16384 buffers of 4k, busy 8k",
        buffers: MANY,
        sides: PIPES,
        sizes: &[57 * K, 777 * K, 10 * M],
        quick: &[10 * M],
        ..PLAIN
    },
    Family {
        name: "few-paced",
        title: "a client that reads 30 MiB/s, 8 buffers of 4k, busy 8k",
        pace: Some(30 * M),
        clients: 2,
        sides: PIPES,
        sizes: &[10 * M, 60 * M],
        quick: &[10 * M],
        ..PLAIN
    },
    Family {
        name: "many-paced",
        title: "a client that reads 30 MiB/s, 16384 buffers of 4k, busy 8k",
        buffers: MANY,
        pace: Some(30 * M),
        clients: 2,
        sides: PIPES,
        sizes: &[10 * M, 60 * M],
        quick: &[10 * M],
        ..PLAIN
    },
    Family {
        name: "slow",
        title: "clients that read 5 MiB/s, the default buffers; nginx spills to temporary files",
        spills: true,
        pace: Some(5 * M),
        sides: COPYING_OR_SPLICING,
        sizes: &[777 * K, 2 * M, 7 * M, 10 * M],
        quick: &[7 * M],
        ..PLAIN
    },
    Family {
        name: "many-slow",
        title: "40 clients that read 2 MiB/s, the default buffers; nginx spills to temporary files",
        spills: true,
        pace: Some(2 * M),
        clients: 40,
        sides: COPYING,
        sizes: &[200 * K, 777 * K, 7 * M],
        quick: &[777 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "crowd-slow",
        title: "1,000 clients that read 256 KiB/s, the default buffers; nginx spills to temporary files",
        spills: true,
        pace: Some(256 * K),
        clients: 1000,
        sides: COPYING,
        sizes: &[2 * M],
        quick: &[],
        ..PLAIN
    },
    Family {
        name: "tls",
        title: "HTTP/1.1 over TLS, the default buffers",
        speech: Speech::Http1Tls,
        sides: COPYING,
        quick: &[57 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "http2",
        title: "HTTP/2, the default buffers",
        speech: Speech::Http2,
        sides: COPYING,
        quick: &[57 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "http2-tls",
        title: "HTTP/2 over TLS, the default buffers",
        speech: Speech::Http2Tls,
        sides: COPYING,
        quick: &[57 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "cache",
        title: "HTTP/1.1, each response stored in the cache, the default buffers",
        way: Way::Cache,
        spills: true,
        sides: PIPES,
        quick: &[57 * K, 7 * M],
        ..PLAIN
    },
    Family {
        name: "fastcgi",
        title: "HTTP/1.1 from FastCGI, the default buffers",
        way: Way::FastCgi,
        sides: PIPES,
        quick: &[57 * K, 7 * M],
        ..PLAIN
    },
];

impl Family {
    /// The cells of a full or of a quick run.
    pub(crate) fn cells(&'static self, quick: bool) -> impl Iterator<Item = Cell> {
        let sizes = if quick { self.quick } else { self.sizes };
        sizes.iter().map(move |&size| Cell { family: self, size })
    }
}

/// A family at one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) family: &'static Family,
    /// Of the body, in bytes.
    pub(crate) size: u64,
}

impl Cell {
    /// What its body is called.
    pub(crate) fn body(&self) -> String {
        match self.size {
            size if size % M == 0 => format!("{}M", size / M),
            size => format!("{}k", size / K),
        }
    }

    /// Whether it is what `--only` asks for by this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        name == self.family.name || name == self.to_string()
    }

    /// How many responses keep a worker busy for about so long: as many for
    /// each client.
    pub(crate) fn responses(&self, round: Duration) -> u64 {
        let mib = self.size as f64 / M as f64;
        let each = match self.family.pace {
            Some(pace) => {
                let seconds = (round * PACED_ROUND).as_secs_f64();
                seconds * pace as f64 / self.size as f64
            }
            None => {
                let cost = COST_PER_RESPONSE.as_secs_f64() + mib * COST_PER_MIB.as_secs_f64();
                round.as_secs_f64() / cost / self.family.clients as f64
            }
        };
        (each as u64).max(1) * self.family.clients
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.family.name, self.body()))
    }
}
