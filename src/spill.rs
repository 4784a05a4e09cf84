//! From `in` to the temporary file, and from there into `out`:
//! `ngx_event_pipe_write_chain_to_temp_file`. This file also decides when data may be
//! spilled.

#![forbid(unsafe_code)]

use crate::extensions::{counts, delay, fallback, memory, segments, stream};
#[cfg(ngx_threads)]
use crate::nginx::NGX_AGAIN;
use crate::nginx::{Abort, Buf, Link, NGX_ERROR, Pipe, TempFile, debug, off_t};
use crate::raw::{FreeEnd, keep_from_recycling};

/// How a spill has ended, if not with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spilled {
    /// The data is in the file, and its shadows are free.
    Done,
    /// Nothing was written: there is no data, or it may not be spilled, or writing
    /// failed.
    Nothing,
    /// A thread is writing the data to the file.
    #[cfg_attr(not(ngx_threads), allow(dead_code))]
    Pending,
}

/// Writes data of `in` to the temporary file, so that raw buffers or loans become free,
/// if the file may still grow.
pub(crate) fn free_raw_bufs(p: Pipe<'_>) -> Result<Spilled, Abort> {
    let Some(file) = file_for_spill(p) else {
        debug!(p.log(), c"no pipe bufs to read in");
        return Ok(Spilled::Nothing);
    };

    let spilled = spill(p);

    debug!(p.log(), c"pipe temp offset: %O", file.offset());

    spilled
}

/// The temporary file, if more may be written to it now. May delay upstream's read
/// event: then the pipe waits before it spills.
fn file_for_spill<'p>(p: Pipe<'p>) -> Option<TempFile<'p>> {
    if p.cacheable() {
        return p.temp_file();
    }

    if fallback::is_memory_only(p) || stream::is_live(p) {
        return None;
    }

    let wait = delay::wait(p);

    if wait > 0 {
        if let Some(upstream) = p.upstream() {
            upstream.read().delay(wait);
        }
        return None;
    }

    segments::choose_file(p, memory::write_size(p));

    p.temp_file()
        .filter(|file| segments::used(p, *file) < p.max_temp_file_size())
}

/// Writes data of `in` to the temporary file: all of `in` if the response is cacheable,
/// otherwise whole groups, up to the size of a write and the file's limit. If a
/// thread has been writing, only takes the result of that write.
pub(crate) fn spill(p: Pipe<'_>) -> Result<Spilled, Abort> {
    let Some(file) = p.temp_file() else {
        return Ok(Spilled::Nothing);
    };

    #[cfg(ngx_threads)]
    if let Some(chain) = p.writing() {
        return collect(p, file, chain);
    }

    let Some(chain) = take_input(p, file)? else {
        return Ok(Spilled::Nothing);
    };

    #[cfg(ngx_threads)]
    prepare_thread_write(p, file);

    let size = file.write_chain(chain);

    #[cfg(ngx_threads)]
    if size == NGX_AGAIN as isize {
        p.set_writing(Some(chain));
        p.set_thread_task(file.thread_task());
        return Ok(Spilled::Pending);
    }

    finish_write(p, file, chain, size)
}

/// Takes the result of a thread's write, if the thread has finished.
#[cfg(ngx_threads)]
fn collect<'p>(p: Pipe<'p>, file: TempFile<'p>, chain: Link<'p>) -> Result<Spilled, Abort> {
    if p.aio() {
        return Ok(Spilled::Pending);
    }

    p.set_writing(None);

    finish_write(p, file, chain, file.finish_thread_write())
}

/// Sets the file's fields for a write by a thread. The output uses the same fields when
/// it reads from the file, so they are set before each write.
#[cfg(ngx_threads)]
fn prepare_thread_write(p: Pipe<'_>, file: TempFile<'_>) {
    if p.thread_handler().is_some() {
        file.set_thread_write(true);
        file.set_thread_task(p.thread_task());
        file.set_thread_handler(p.thread_handler());
        file.set_thread_ctx(p.thread_ctx());
    }
}

/// Takes off `in` the links that are to be written now; a header that is still to be
/// written comes before them.
fn take_input<'p>(p: Pipe<'p>, file: TempFile<'p>) -> Result<Option<Link<'p>>, Abort> {
    let chain = match p.buf_to_file() {
        Some(header) => {
            let link = p.pool().link_to(header).ok_or(Abort)?;
            link.set_next(p.input());
            link
        }
        None => match p.input() {
            Some(link) => link,
            None => return Ok(None),
        },
    };

    if p.cacheable() {
        p.clear_input();
        return Ok(Some(chain));
    }

    let Some(last) = last_within_limits(p, file, chain) else {
        return Ok(None);
    };

    match last.next() {
        Some(rest) => {
            p.set_input(Some(rest));
            last.set_next(None);
        }
        None => p.clear_input(),
    }

    Ok(Some(chain))
}

/// The last link up to which a write stays within its size and the file within its
/// limit. The shadows of one raw buffer stay together: the raw buffer is
/// free only when all of them are written.
fn last_within_limits<'p>(p: Pipe<'p>, file: TempFile<'p>, chain: Link<'p>) -> Option<Link<'p>> {
    debug!(p.log(), c"pipe offset: %O", file.offset());

    let used = segments::used(p, file);
    let write_size = memory::write_size(p);
    let mut last = None;
    let mut size: isize = 0;
    let mut between_groups = true;

    for link in chain.iter() {
        let buf = link.buf();

        debug!(
            p.log(),
            c"pipe buf ls:%d %p, pos %p, size: %z",
            buf.last_shadow(),
            buf.start(),
            buf.pos(),
            buf.len()
        );

        let with_this = size.wrapping_add(buf.len());
        let file_with_this = used.wrapping_add(with_this as off_t);

        let is_too_much = with_this > write_size || file_with_this > p.max_temp_file_size();

        if between_groups && is_too_much {
            break;
        }

        between_groups = buf.last_shadow();
        size = with_this;
        last = Some(link);
    }

    debug!(p.log(), c"size: %z", size);

    last
}

/// Finishes the write of a chain: `size` bytes of it are in the file, or writing failed
/// (`NGX_ERROR`). Appends a file buffer to `out`, and frees the chain's shadows.
fn finish_write<'p>(
    p: Pipe<'p>,
    file: TempFile<'p>,
    chain: Link<'p>,
    mut size: isize,
) -> Result<Spilled, Abort> {
    if size == NGX_ERROR as isize {
        return fail(p, chain);
    }

    let mut body = Some(chain);

    if let Some(header) = p.buf_to_file() {
        // The header is for the cache only: no file buffer points to it.
        file.set_offset(header.len() as off_t);
        size = size.wrapping_sub(header.len());
        p.set_buf_to_file(None);
        body = chain.next();
    }

    counts::spilled(p, size);
    memory::spilled(p);

    if size > 0 && memory::is_to_be_sent(p, body, size) {
        send_from_memory(p, file, body, size as off_t);
        return Ok(Spilled::Done);
    }

    if size > 0 {
        link_to_out(p, file, size as off_t)?;
    }

    free_shadows(p, body)?;

    Ok(Spilled::Done)
}

/// Puts shadows of a loan into `out`, which is empty. Their `size` bytes are in the file, too.
/// (nginx sends what is cacheable from the file only.)
fn send_from_memory<'p>(p: Pipe<'p>, file: TempFile<'p>, chain: Option<Link<'p>>, size: off_t) {
    file.set_offset(file.offset().wrapping_add(size));

    keep_from_recycling(chain);
    p.set_out(chain);
    memory::end_passing(p);
}

/// Puts a chain that could not be written back into `in`, or ends the response.
fn fail<'p>(p: Pipe<'p>, chain: Link<'p>) -> Result<Spilled, Abort> {
    // Differs from nginx, where the response ends here.
    fallback::go_on_without_disk(p)?;

    if let Some(body) = without_header(p, chain) {
        return_to_in(p, body);
    }

    // The client's side may have been idle, and nothing else may wake it.
    p.set_read(true);

    Ok(Spilled::Nothing)
}

/// Takes the header, which was for the cache only, off the chain.
fn without_header<'p>(p: Pipe<'p>, chain: Link<'p>) -> Option<Link<'p>> {
    if p.buf_to_file().is_none() {
        return Some(chain);
    }

    let body = chain.next();

    p.set_buf_to_file(None);
    p.pool().free_link(chain);

    body
}

/// Puts a chain back to the front of `in`: other shadows may have come meanwhile.
fn return_to_in<'p>(p: Pipe<'p>, chain: Link<'p>) {
    let tail = chain.tail();

    match p.input() {
        Some(rest) => tail.set_next(Some(rest)),
        None => p.set_last_in(tail.next_slot()),
    }

    p.set_input(Some(chain));
}

/// Appends the file's next `size` bytes to `out`: extends the last file buffer of `out`
/// if that ends where these bytes begin, else appends a new file buffer.
fn link_to_out(p: Pipe<'_>, file: TempFile<'_>, size: off_t) -> Result<(), Abort> {
    let start = file.offset();
    let end = start.wrapping_add(size);
    let tail = p.out().map(Link::tail);

    segments::grown(p, size);

    let is_adjacent = |buf: &Buf<'_>| buf.in_file() && buf.file_last() == start;

    if let Some(adjacent) = tail.map(Link::buf).filter(is_adjacent) {
        file.set_offset(end);
        adjacent.set_file_last(end);
        return Ok(());
    }

    let link = p.get_free_buf().ok_or(Abort)?;
    let buf = link.buf();

    buf.clear();
    buf.set_tag(p.tag());
    buf.set_file(file.file());
    buf.set_file_pos(start);
    buf.set_file_last(end);
    buf.set_in_file(true);
    buf.set_temp_file(true);

    file.set_offset(end);
    segments::linked(p);

    match tail {
        Some(tail) => tail.set_next(Some(link)),
        None => p.set_out(Some(link)),
    }

    Ok(())
}

/// Puts the shadows of a chain into `free`, and each raw buffer whose last shadow is
/// among them at the end of the free list.
fn free_shadows<'p>(p: Pipe<'p>, chain: Option<Link<'p>>) -> Result<(), Abort> {
    let mut end = FreeEnd::of(p);
    let mut next = chain;

    while let Some(link) = next {
        next = link.next();
        link.set_next(p.free());
        p.set_free(Some(link));

        end.release(link.buf())?;
    }

    Ok(())
}
