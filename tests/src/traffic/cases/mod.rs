//! The cases.

mod abuse;
mod cache;
mod clients;
mod faults;
mod features;
mod framing;
mod generated;

use super::{Buffers, Case, Exchange};
use crate::upstream::Protocol;

pub(super) use faults::UNWRITABLE;
pub use faults::{full, unwritable};
pub use generated::generated;

/// Those written by hand.
pub fn by_hand() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in Protocol::ALL {
        cases.extend(framing::cases(protocol));
        cases.extend(abuse::cases(protocol));
        cases.extend(clients::cases(protocol));
        cases.extend(features::cases(protocol));
        cases.extend(cache::cases(protocol));
    }
    cases
}

/// Prefixes a name with that of the protocol.
fn named(protocol: Protocol, name: &str) -> String {
    format!("{}/{name}", protocol.module())
}

/// The last exchange must show this status of the cache.
fn cache_status(status: &'static str) -> impl FnOnce(&mut Exchange) {
    move |exchange| exchange.expect.headers = vec![("X-Cache", status)]
}

impl Case {
    /// Has the response cached.
    fn cached(self) -> Self {
        self.conf(
            "@_cache @; @_cache_key $uri; @_cache_valid any 1h; \
             add_header X-Cache $upstream_cache_status;",
        )
    }

    /// Has it use these buffers.
    fn buffers(self, buffers: Buffers) -> Self {
        self.conf(&buffers.to_string())
    }
}
