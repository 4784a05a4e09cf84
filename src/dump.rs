//! The pipe's chains in the debug log.

#![forbid(unsafe_code)]

use crate::nginx::Pipe;

/// Writes a line for each buffer of each chain, then the number of bytes that are still
/// to come.
#[cfg(ngx_debug)]
pub(crate) fn chains(p: Pipe<'_>) {
    use crate::nginx::debug;

    chain(p, BUSY, p.busy());
    chain(p, OUT, p.out());
    chain(p, IN, p.input());
    chain(p, FREE, p.free_raw_bufs());

    debug!(p.log(), c"pipe length: %O", p.length());
}

/// Writes nothing: nginx is built without `--with-debug`.
#[cfg(not(ngx_debug))]
pub(crate) fn chains(_: Pipe<'_>) {}

#[cfg(ngx_debug)]
use line::{BUSY, FREE, IN, OUT, chain};

#[cfg(ngx_debug)]
mod line {
    use crate::nginx::{Address, Format, Link, Links, Pipe};

    /// Whether the buffer has a shadow, is temporary, is in a file; start and position
    /// in memory, bytes in memory; position in the file, bytes in the file.
    type Line = Format<(bool, bool, bool, Address, Address, isize, i64, i64)>;

    pub(super) const BUSY: Line =
        Format::new(c"pipe buf busy s:%d t:%d f:%d %p, pos %p, size: %z file: %O, size: %O");
    pub(super) const OUT: Line =
        Format::new(c"pipe buf out  s:%d t:%d f:%d %p, pos %p, size: %z file: %O, size: %O");
    pub(super) const IN: Line =
        Format::new(c"pipe buf in   s:%d t:%d f:%d %p, pos %p, size: %z file: %O, size: %O");
    pub(super) const FREE: Line =
        Format::new(c"pipe buf free s:%d t:%d f:%d %p, pos %p, size: %z file: %O, size: %O");

    pub(super) fn chain(p: Pipe<'_>, line: Line, head: Option<Link<'_>>) {
        for buf in Links::from(head).map(Link::buf) {
            p.log().debug(
                line,
                (
                    buf.shadow().is_some(),
                    buf.temporary(),
                    buf.in_file(),
                    buf.start(),
                    buf.pos(),
                    buf.len(),
                    buf.file_pos(),
                    buf.file_last().wrapping_sub(buf.file_pos()),
                ),
            );
        }
    }
}
