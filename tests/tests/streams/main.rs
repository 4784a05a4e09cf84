//! Streams in the company of what else nginx does: subrequests, clients that are
//! too slow for them, and FastCGI servers that keep the connection. Time stands
//! still, so nothing arrives because somebody has waited for long enough.

mod end;
mod slow;
mod subrequest;

#[path = "../time/pace/mod.rs"]
#[expect(dead_code, reason = "the tests of time need more of it")]
mod pace;
