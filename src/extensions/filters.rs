//! Which filters are known: those of which it is known what they do with a temporary
//! file.
//!
//! nginx keeps the one temporary file of a response open until the request ends, so a
//! filter may refer to the file for as long. A file may be closed earlier only if
//! nobody refers to it (`segments`).

#![forbid(unsafe_code)]

use crate::nginx::worker;

/// nginx's own modules, "ngx_http_" and "_module" left out of their names. Of the body
/// filters behind the copy filter, each either passes a file buffer on as it is, so
/// that the pipe sees when the buffer is sent, or has asked for the data in memory.
/// Before the copy filter, "range_body" and "slice" pass buffers on as they are.
const KNOWN: &[&str] = &[
    "access",
    "addition_filter",
    "auth_basic",
    "auth_request",
    "autoindex",
    "browser",
    "charset_filter",
    "chunked_filter",
    "copy_filter",
    "core",
    "dav",
    "degradation",
    "empty_gif",
    "fastcgi",
    "flv",
    "geo",
    "geoip",
    "grpc",
    "gunzip_filter",
    "gzip_filter",
    "gzip_static",
    "header_filter",
    "headers_filter",
    "image_filter",
    "index",
    "limit_conn",
    "limit_req",
    "log",
    "map",
    "memcached",
    "mirror",
    "mp4",
    "not_modified_filter",
    "perl",
    "postpone_filter",
    "proxy",
    "proxy_v2",
    "random_index",
    "range_body_filter",
    "range_header_filter",
    "realip",
    "referer",
    "rewrite",
    "scgi",
    "secure_link",
    "slice_filter",
    "split_clients",
    "ssi_filter",
    "ssl",
    "static",
    "stub_status",
    "sub_filter",
    "try_files",
    "tunnel",
    "upstream",
    "upstream_hash",
    "upstream_ip_hash",
    "upstream_keepalive",
    "upstream_least_conn",
    "upstream_least_time",
    "upstream_random",
    "upstream_sticky",
    "upstream_zone",
    "userid_filter",
    "uwsgi",
    "v2",
    "v2_filter",
    "v3",
    "v3_filter",
    "write_filter",
    "xslt_filter",
];

/// Notes a module that may have installed a filter, by the module's name.
pub(crate) fn note(module: &[u8]) {
    if !is_known(module) {
        worker().has_unknown_filter.set(true);
    }
}

/// Whether a module is one of nginx's known modules, or this project's own.
fn is_known(module: &[u8]) -> bool {
    if module.starts_with(b"ngx_event_pipe_") {
        return true;
    }

    let name = module
        .strip_prefix(b"ngx_http_")
        .and_then(|name| name.strip_suffix(b"_module"));

    name.is_some_and(|name| KNOWN.iter().any(|known| known.as_bytes() == name))
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn nginx_s_modules_are_known_and_this_project_s() {
        assert!(is_known(b"ngx_http_sub_filter_module"));
        assert!(is_known(b"ngx_http_v2_module"));
        assert!(is_known(b"ngx_event_pipe_http_module"));
    }

    #[test]
    fn a_module_with_a_similar_name_is_not() {
        assert!(!is_known(b"ngx_http_subs_filter_module"));
        assert!(!is_known(b"ngx_http_sub_filter"));
        assert!(!is_known(b"ngx_http_sub_filter_module2"));
        assert!(!is_known(b"sub_filter_module"));
        assert!(!is_known(b""));
    }
}
