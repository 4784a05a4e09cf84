//! What only the HTTP request of a pipe knows or can do: its output and its connections
//! as nginx's HTTP modules see them, its cache entry, its log.

use super::bindings::{self, NGX_OK, ngx_event_pipe_progress_t, ngx_int_t, ngx_msec_t};
use super::buf::Buf;
use super::pipe::Pipe;
use super::state::ClientPosition;

impl<'p> Pipe<'p> {
    /// Whether the output holds something that it would send on if the output filter
    /// were called again.
    pub(crate) fn output_holds(self) -> bool {
        // SAFETY: a pipe whose owner has set its output.
        unsafe { bindings::ngx_event_pipe_glue_output_holds(self.as_raw()) != 0 }
    }

    /// Whether the copy filter does not refer to a file any more once the pipe's file
    /// buffers of that file are sent; false also if that is not known.
    pub(crate) fn may_close(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_may_close(self.as_raw()) != 0 }
    }

    /// Whether a thread, or the kernel, is reading or writing a file for the request:
    /// `r->aio`.
    #[cfg(ngx_threads)]
    pub(crate) fn request_aio(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_aio(self.as_raw()) != 0 }
    }

    /// Whether a raw buffer's data seems to end with the end of the response.
    pub(crate) fn seems_ended(self, raw: Buf<'p>) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's, and one of its
        // raw buffers, whose memory the pipe still has.
        unsafe { bindings::ngx_event_pipe_glue_seems_ended(self.as_raw(), raw.as_raw()) != 0 }
    }

    /// Whether the connection to upstream is still this pipe's: nginx may have closed
    /// the connection, or be using it for another request, without telling the pipe.
    pub(crate) fn has_upstream(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_has_upstream(self.as_raw()) != 0 }
    }

    /// Restarts the timer that limits the wait for the client, if that timer is
    /// running.
    pub(crate) fn restart_send_timer(self) {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_restart_send_timer(self.as_raw()) }
    }

    /// Logs that upstream has timed out, and has nginx call the pipe soon.
    pub(crate) fn give_up_upstream(self) {
        // SAFETY: a pipe that has a state, so it is a request's, and whose
        // connection to upstream is its own, says the caller.
        unsafe { bindings::ngx_event_pipe_glue_give_up_upstream(self.as_raw()) }
    }

    /// Has the request give up the cache entry or stored file that the response was
    /// written to. The temporary file itself stays open.
    pub(crate) fn discard(self) {
        // SAFETY: a pipe that has a state, so it is a request's, with its file.
        unsafe { bindings::ngx_event_pipe_glue_discard(self.as_raw()) }
    }

    /// Whether the `limit_rate` of the main request limits what the client is sent.
    pub(crate) fn is_limited(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_is_limited(self.as_raw()) != 0 }
    }

    /// The client's room: how many bytes the client takes without anybody waiting; 0 if
    /// that is not known.
    pub(crate) fn room(self) -> usize {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_room(self.as_raw()) }
    }

    /// How far the client is by now, seen below the buffers of the socket, TLS and
    /// HTTP/2; `before` is the result of the last call of this function. `None` if
    /// there is no way to tell.
    pub(crate) fn client_position(self, before: ClientPosition) -> Option<ClientPosition> {
        let mut position = ngx_event_pipe_progress_t {
            sent: before.sent,
            left: before.left,
            window: before.window,
        };

        // SAFETY: a pipe that has a state, so it is a request's, and a local structure.
        let rc = unsafe {
            bindings::ngx_event_pipe_glue_client_progress(self.as_raw(), &raw mut position)
        };

        (rc == NGX_OK as ngx_int_t).then_some(ClientPosition {
            sent: position.sent,
            left: position.left,
            window: position.window,
        })
    }

    /// Starts the watch: it runs in `timer` milliseconds, or earlier if it is already
    /// to run earlier.
    pub(crate) fn watch(self, timer: ngx_msec_t) {
        // SAFETY: a pipe that has a state, so it is a request's, whose timer stops at the
        // latest when its pool is destroyed.
        unsafe { bindings::ngx_event_pipe_glue_watch(self.as_raw(), timer) }
    }
}
