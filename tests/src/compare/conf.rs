//! nginx's configuration for a number of cases.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::case::{Case, Location};
use super::model::WORD;
use crate::upstream::Protocol;

/// Which nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// With nginx's own pipe.
    Stock,
    /// With this project's.
    Ours,
}

/// Where the peers of a side listen.
pub trait Peers {
    /// Where a location's upstream is.
    fn address(&self, location: &Location) -> SocketAddr;
}

/// What all cases need in `http {}`; `certificate` are the directives of one.
pub fn common(cases: &[Case], certificate: &str) -> String {
    let mut text = format!(
        "{certificate}access_log off;\nserver_tokens off;\nsend_timeout 300s;\n\
         ssl_session_cache off;\nssl_session_tickets off;\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
         proxy_set_header Range $slice_range;\n\
         ssi_types *;\naddition_types *;\nsub_filter_types *;\nsub_filter_once off;\n\
         gzip_types *;\ncharset_types *;\ncharset_map koi8-r windows-1251 {{ 80 88; }}\n"
    );
    for module in Protocol::ALL.map(Protocol::module) {
        let _ = writeln!(
            text,
            "{module}_read_timeout 300s;\n{module}_send_timeout 300s;\n\
             {module}_next_upstream off;"
        );
        let zone = format!("{module}_cache {module};");
        let uses = |case: &Case| {
            case.locations.iter().any(|location| {
                location.conf.iter().any(|line| {
                    line.replace('@', location.protocol.module())
                        .contains(&zone)
                })
            })
        };
        if cases.iter().any(uses) {
            let _ = writeln!(
                text,
                "{module}_cache_path cache-{module} keys_zone={module}:1m inactive=1h;"
            );
        }
    }
    text
}

/// The `server {}` of a case.
pub fn server(
    case: &Case,
    which: Which,
    listen: SocketAddr,
    prefix: &Path,
    peers: &impl Peers,
) -> String {
    let ssl = if case.listen.tls { " ssl" } else { "" };
    let sndbuf = case.listen.sndbuf.map(|size| format!(" sndbuf={size}"));
    let mut text = format!(
        "server {{\nlisten {listen}{ssl}{};\n",
        sndbuf.unwrap_or_default()
    );
    if case.listen.http2.is_some() {
        text += "http2 on;\n";
    }
    let own: &[String] = match which {
        Which::Stock => &[],
        Which::Ours => &case.ours,
    };
    for line in case.server.iter().chain(own) {
        let _ = writeln!(text, "{line}");
    }
    for (nth, location) in case.locations.iter().enumerate() {
        let module = location.protocol.module();
        let pass = location
            .protocol
            .pass(peers.address(location), location.tls.is_some());
        let _ = writeln!(text, "location = {} {{\n{pass}", case.path(nth));
        if !location.includes.is_empty() {
            text += "ssi on;\n";
        }
        if let Some(before) = location.before {
            let _ = writeln!(text, "add_before_body {};", case.path(before));
        }
        if let Some(after) = location.after {
            let _ = writeln!(text, "add_after_body {};", case.path(after));
        }
        if location.sub {
            let _ = writeln!(text, "sub_filter {:?} {:?};", WORD.0, WORD.1);
        }
        if case.streams && which == Which::Stock {
            let _ = writeln!(text, "{module}_buffering off;");
        }
        for line in &location.conf {
            let line = line.replace('@', module);
            let _ = writeln!(
                text,
                "{}",
                line.replace("PREFIX", &prefix.to_string_lossy())
            );
        }
        text += "}\n";
    }
    text + "}\n"
}
