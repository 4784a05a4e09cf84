//! Connections, their events, and the clocks that events are timed by:
//! `ngx_connection_t`, `ngx_event_t`.

#[cfg(ngx_have_kqueue)]
use core::ffi::c_int;
use core::ffi::c_void;

use super::Abort;
use super::bindings::{
    self, NGX_ERROR, NGX_EVENT_PIPE_GLUE_CLOSE_EVENT, NGX_OK, ngx_connection_s, ngx_event_s,
    ngx_fd_t, ngx_int_t, ngx_msec_t, ngx_uint_t, off_t, time_t,
};
use super::buf::Link;
use super::handle::handle;

handle! {
    /// A connection, `ngx_connection_t`.
    Connection => ngx_connection_s;

    /// What the connection serves at the moment; for a client's connection, a request.
    value data: Data => data;
    /// The read event.
    always read: Event => read;
    /// The write event.
    always write: Event => write;
    /// The socket.
    value fd: ngx_fd_t => fd;
    value recv_chain: RecvChain => recv_chain_function;
    /// The kernel may send from a file to this connection, sendfile(2).
    flag sendfile: (sendfile_raw, set_sendfile_raw) => sendfile;
    /// Data for this connection waits in nginx's output, TLS or HTTP/2, until the
    /// connection takes more.
    flag buffered: (buffered_raw, set_buffered_raw) => buffered;
}

/// The address in `data`; the pipe only compares it.
pub(crate) type Data = *mut c_void;

type RecvChain = bindings::ngx_recv_chain_pt;

impl Connection<'_> {
    /// Whether the socket is still open: its `fd` is not `(ngx_socket_t) -1`.
    pub(crate) fn is_open(self) -> bool {
        self.fd() != -1
    }

    /// Whether TLS runs on this connection.
    #[cfg(all(ngx_have_kqueue, ngx_ssl))]
    pub(crate) fn is_ssl(self) -> bool {
        // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
        unsafe { !(*self.as_raw()).ssl.is_null() }
    }

    /// How many bytes the kernel has for a read from this connection; `None` if that is
    /// not known. `ngx_socket_nread`, which is called at most once an event.
    pub(crate) fn bytes_available(self) -> Option<usize> {
        // SAFETY: an open connection.
        match unsafe { bindings::ngx_event_pipe_glue_waiting(self.as_raw()) } {
            0 => None,
            waiting => Some(waiting),
        }
    }

    /// How many bytes have come in below TLS, which are more than TLS passes on; 0
    /// without TLS.
    pub(crate) fn tls_received(self) -> off_t {
        // SAFETY: an open connection.
        unsafe { bindings::ngx_event_pipe_glue_tls_received(self.as_raw()) }
    }

    /// Receives into the room of a chain's buffers, at most `limit` bytes if `limit` is
    /// not zero: `c->recv_chain()`. Returns the number of bytes, zero at the end of the
    /// stream, `NGX_AGAIN` or `NGX_ERROR`. Leaves the buffers' `last` as it is.
    pub(crate) fn recv_chain(self, chain: Link<'_>, limit: off_t) -> isize {
        let Some(recv_chain) = self.recv_chain_function() else {
            return NGX_ERROR as isize;
        };

        // SAFETY: nginx's own function, set when the connection was made, on
        // its connection and a chain of buffers with memory of their own.
        unsafe { recv_chain(self.as_raw(), chain.as_raw(), limit) }
    }
}

handle! {
    /// One direction of a connection as an event, `ngx_event_t`.
    Event => ngx_event_s;

    /// The operating system is asked to report this event.
    flag active: (active_raw, set_active_raw) => active;
    /// Reading or writing will not block.
    flag ready: (ready_raw, set_ready_raw) => ready, set_ready;
    /// The peer has closed its side.
    flag eof: (eof_raw, set_eof_raw) => eof, set_eof;
    /// The connection has failed.
    flag error: (error_raw, set_error_raw) => error, set_error;
    /// A rate limit, or `event_pipe_spill_delay`, puts this event off until the timer
    /// expires.
    flag delayed: (delayed_raw, set_delayed_raw) => delayed, set_delayed;
    /// The timer is running.
    flag timer_set: (timer_set_raw, set_timer_set_raw) => timer_set;

    /// How many bytes the kernel has for the next read, as far as is known.
    #[cfg(ngx_have_kqueue)]
    value available: c_int => available;
    /// kqueue has reported that the peer has closed its side.
    #[cfg(ngx_have_kqueue)]
    flag pending_eof: (pending_eof_raw, set_pending_eof_raw) => pending_eof;
    /// The error that kqueue has reported with `pending_eof`.
    #[cfg(ngx_have_kqueue)]
    value kq_errno: c_int => kq_errno;
}

impl Event<'_> {
    /// Starts or moves the timer, `ngx_add_timer`.
    pub(crate) fn add_timer(self, timer: ngx_msec_t) {
        // SAFETY: a connection's event, alive during 'p; the timer tree knows
        // it exactly when `timer_set` says so.
        unsafe { bindings::ngx_event_pipe_glue_add_timer(self.as_raw(), timer) }
    }

    /// Stops the running timer, `ngx_del_timer`.
    fn del_timer(self) {
        // SAFETY: as for `add_timer`; the caller has looked at `timer_set`.
        unsafe { bindings::ngx_event_pipe_glue_del_timer(self.as_raw()) }
    }

    /// Whether the peer is waited for: the event has not come, and nothing delays it.
    pub(crate) fn is_awaited(self) -> bool {
        self.active() && !self.ready() && !self.delayed()
    }

    /// Stops the timer if the timer is running.
    pub(crate) fn stop_timer(self) {
        if self.timer_set() {
            self.del_timer();
        }
    }

    /// Delays this event for `timer` milliseconds; then the event's timer wakes its
    /// handler.
    pub(crate) fn delay(self, timer: ngx_msec_t) {
        self.set_delayed(true);
        self.add_timer(timer);
    }

    /// Ends the delay of this event before its time.
    pub(crate) fn end_delay(self) {
        self.set_delayed(false);
        self.stop_timer();
    }

    /// Asks nginx to report when there is something to read or, with `close`, to report
    /// nothing any more: `ngx_handle_read_event`.
    pub(crate) fn handle_read(self, close: bool) -> Result<(), Abort> {
        let flags = if close {
            NGX_EVENT_PIPE_GLUE_CLOSE_EVENT as ngx_uint_t
        } else {
            0
        };

        // SAFETY: the event of an open connection.
        done(unsafe { bindings::ngx_handle_read_event(self.as_raw(), flags) })
    }

    /// Asks nginx to report when `lowat` bytes can be written,
    /// `ngx_handle_write_event`.
    pub(crate) fn handle_write(self, lowat: isize) -> Result<(), Abort> {
        // `send_lowat` is a signed field that C hands over as a `size_t`.
        let lowat = lowat as usize;

        // SAFETY: the event of an open connection.
        done(unsafe { bindings::ngx_handle_write_event(self.as_raw(), lowat) })
    }
}

/// Turns a return code of nginx into a result: anything but `NGX_OK` ends the pipe.
fn done(rc: ngx_int_t) -> Result<(), Abort> {
    if rc == NGX_OK as ngx_int_t {
        Ok(())
    } else {
        Err(Abort)
    }
}

/// The time by a clock that nobody sets, in milliseconds since an unknown moment, as
/// nginx has cached it: `ngx_current_msec`.
pub(crate) fn clock() -> ngx_msec_t {
    // SAFETY: a variable that the event loop keeps, in this very thread.
    unsafe { bindings::ngx_current_msec }
}

/// The time by a clock that nobody sets, in nanoseconds since an unknown moment, as the
/// system has it now.
pub(crate) fn nanoseconds() -> u64 {
    // SAFETY: reads a clock.
    unsafe { bindings::ngx_event_pipe_glue_nanoseconds() }
}

/// Whole seconds since `start`, by the wall clock as nginx has cached it: `ngx_time`.
#[allow(clippy::unnecessary_cast)] // of `time_t`, which has 32 bits on some systems
pub(crate) fn wall_clock_since(start: time_t) -> i64 {
    // SAFETY: reads a variable that the event loop keeps.
    let now = unsafe { bindings::ngx_event_pipe_glue_time() };

    (now as i64).saturating_sub(start as i64)
}
