//! What only the HTTP request behind a pipe knows, or can do: its output and its
//! connections as nginx's HTTP modules see them, its cache entry, its log.

use super::bindings::{self, NGX_OK, ngx_event_pipe_progress_t, ngx_int_t, ngx_msec_t};
use super::buf::Buf;
use super::pipe::Pipe;
use super::state::ClientPosition;

impl<'p> Pipe<'p> {
    /// Whether the output, or a filter before it, has something that it would
    /// go on with if asked.
    pub(crate) fn output_holds(self) -> bool {
        // SAFETY: a pipe whose owner has set its output.
        unsafe { bindings::ngx_event_pipe_glue_output_holds(self.as_raw()) != 0 }
    }

    /// Whether the copy filter does not refer to a file any more once the pipe's file
    /// buffers of it are sent; false also if that is not known.
    pub(crate) fn may_close(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_may_close(self.as_raw()) != 0 }
    }

    /// Whether a thread, or the kernel, has something to do for the request:
    /// `r->aio`.
    #[cfg(ngx_threads)]
    pub(crate) fn request_aio(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_aio(self.as_raw()) != 0 }
    }

    /// Whether a raw buffer's data seems to end with the end of the response.
    pub(crate) fn seems_ended(self, raw: Buf<'p>) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's, and one of its
        // raw buffers, whose memory it still has.
        unsafe { bindings::ngx_event_pipe_glue_seems_ended(self.as_raw(), raw.as_raw()) != 0 }
    }

    /// Whether the connection to upstream is still this pipe's: nginx may have
    /// closed it, or be using it for another request, without a word.
    pub(crate) fn has_upstream(self) -> bool {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_has_upstream(self.as_raw()) != 0 }
    }

    /// Restarts the timer of whoever waits for the client, if it runs.
    pub(crate) fn restart_send_timer(self) {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_restart_send_timer(self.as_raw()) }
    }

    /// Logs that upstream has timed out, and has the pipe called for it.
    pub(crate) fn give_up_upstream(self) {
        // SAFETY: a pipe that has a state, so it is a request's, and whose
        // connection to upstream is its own, says the caller.
        unsafe { bindings::ngx_event_pipe_glue_give_up_upstream(self.as_raw()) }
    }

    /// The request gives up what was to be kept of this response, in a cache or
    /// as a stored file. The file itself stays open.
    pub(crate) fn discard(self) {
        // SAFETY: a pipe that has a state, so it is a request's, with its file.
        unsafe { bindings::ngx_event_pipe_glue_discard(self.as_raw()) }
    }

    /// How many bytes the client takes without making anybody wait, as far as
    /// can be seen from here; 0 if it cannot be seen.
    pub(crate) fn room(self) -> usize {
        // SAFETY: a pipe that has a state, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_room(self.as_raw()) }
    }

    /// How far the client is by now, with `before` from the last call of this function:
    /// seen below the socket's buffer, TLS and HTTP/2. `None` if there is no way to tell.
    pub(crate) fn client_position(self, before: ClientPosition) -> Option<ClientPosition> {
        let mut position = ngx_event_pipe_progress_t {
            sent: before.sent,
            left: before.left,
            window: before.window,
        };

        // SAFETY: a pipe that has a state, so it is a request's, and a structure of our own.
        let rc = unsafe {
            bindings::ngx_event_pipe_glue_client_progress(self.as_raw(), &raw mut position)
        };

        (rc == NGX_OK as ngx_int_t).then_some(ClientPosition {
            sent: position.sent,
            left: position.left,
            window: position.window,
        })
    }

    /// Has the pipe looked after between its turns, in so many milliseconds if not
    /// before.
    pub(crate) fn watch(self, timer: ngx_msec_t) {
        // SAFETY: a pipe that has a state, so it is a request's, whose timer stops at the
        // latest when its pool is destroyed.
        unsafe { bindings::ngx_event_pipe_glue_watch(self.as_raw(), timer) }
    }
}
