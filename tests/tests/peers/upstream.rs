//! The upstreams, as the configuration of nginx sees them.

use pipe_tests::peers::uwsgi::Protocol;

use super::stage::{OriginServer, Stage};

/// Who answers, and by which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// nginx, HTTP/1.0: a connection for each response.
    Http10,
    /// nginx, HTTP/1.1, with connections kept.
    Http11,
    /// nginx, HTTP/1.1 over TLS, its certificate verified.
    Tls,
    /// nginx, HTTP/2 with prior knowledge.
    Http2,
    /// nginx, HTTP/2 over TLS, its certificate verified.
    Http2Tls,
    /// uWSGI.
    Uwsgi(Protocol),
}

impl Upstream {
    pub(crate) const ALL: [Self; 8] = [
        Self::Http10,
        Self::Http11,
        Self::Tls,
        Self::Http2,
        Self::Http2Tls,
        Self::Uwsgi(Protocol::FastCgi),
        Self::Uwsgi(Protocol::Scgi),
        Self::Uwsgi(Protocol::Uwsgi),
    ];

    /// As the names of the tests have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http1.0",
            Self::Http11 => "http1.1",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Http2Tls => "http2-tls",
            Self::Uwsgi(protocol) => protocol.name(),
        }
    }

    /// What the names of its directives begin with.
    pub(crate) fn module(self) -> &'static str {
        match self {
            Self::Uwsgi(protocol) => protocol.name(),
            _ => "proxy",
        }
    }

    pub(crate) fn is_nginx(self) -> bool {
        !matches!(self, Self::Uwsgi(_))
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    /// The `upstream` block that [`Upstream::pass`] refers to.
    pub(crate) fn servers(self, stage: &Stage) -> String {
        let socket = match self {
            Self::Http10 | Self::Http11 => stage.origin(OriginServer::Plain),
            Self::Tls => stage.origin(OriginServer::Tls),
            Self::Http2 => stage.origin(OriginServer::Http2),
            Self::Http2Tls => stage.origin(OriginServer::Http2Tls),
            Self::Uwsgi(protocol) => stage.uwsgi(protocol),
        };
        // A kept connection must not look like one left open for long.
        let keep = match self {
            Self::Http10 | Self::Uwsgi(_) => "",
            _ => "keepalive 4; keepalive_timeout 100ms;",
        };
        let socket = socket.display();
        format!("upstream peer {{ server unix:{socket}; {keep} }}\n")
    }

    /// The directives that pass the requests of a location on.
    pub(crate) fn pass(self, stage: &Stage) -> String {
        let verify = format!(
            "proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_trusted_certificate {};",
            stage.certificate().certificate.display()
        );
        match self {
            Self::Http10 => "proxy_pass http://peer; proxy_http_version 1.0;".to_owned(),
            Self::Http11 => format!("proxy_pass http://peer; {KEEP_ALIVE}"),
            Self::Tls => format!("proxy_pass https://peer; {KEEP_ALIVE} {verify}"),
            Self::Http2 => "proxy_pass http://peer; proxy_http_version 2;".to_owned(),
            Self::Http2Tls => format!("proxy_pass https://peer; proxy_http_version 2; {verify}"),
            Self::Uwsgi(protocol) => {
                let module = protocol.name();
                let parameters = PARAMETERS
                    .map(|(name, value)| format!("{module}_param {name} {value};\n"))
                    .concat();
                format!("{module}_pass peer;\n{parameters}")
            }
        }
    }
}

/// HTTP/1.1 with connections that stay open.
const KEEP_ALIVE: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";

/// What uWSGI must be told of a request.
const PARAMETERS: [(&str, &str); 8] = [
    ("CONTENT_LENGTH", "$content_length"),
    ("PATH_INFO", "$uri"),
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("REQUEST_URI", "$request_uri"),
    ("SERVER_NAME", "localhost"),
    ("SERVER_PORT", "$server_port"),
    ("SERVER_PROTOCOL", "$server_protocol"),
];
