#ifndef _NGX_EVENT_PIPE_RUST_H_INCLUDED_
#define _NGX_EVENT_PIPE_RUST_H_INCLUDED_

/* What the Rust event pipe exports; written by cbindgen from src/exports.rs. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>
#include "ngx_event_pipe_glue.h"

/*
 Bytes that the text of a variable takes, at the most.
 */
#define NGX_EVENT_PIPE_RUST_VARIABLE_LEN 32

/*
 Bytes that the text of the status takes, at the most.
 */
#define NGX_EVENT_PIPE_RUST_STATUS_LEN 8192

/*
 Moves what can be moved from upstream to the client: sends first if
 `do_write` is not zero, then receives and sends in turn until neither goes
 on, and finally registers the events and timers that continue the work.

 Returns `NGX_OK`, or `NGX_ABORT` if the request has to be finalized. How far
 the response has come is told by the flags `upstream_eof`,
 `upstream_error`, `upstream_done` and `downstream_error`.

 # Safety

 `p` is a pipe that an upstream module has set up: `downstream`, `pool`,
 `log`, `temp_file`, both filters and the buffer sizes are set, the rest is
 zero or was left by an earlier call. Everything that it points to stays
 allocated until this function returns. It calls the filters, `recv_chain`
 and the thread handler, which may change the pipe; none of them may call
 this function for the same pipe.
 */
ngx_int_t ngx_event_pipe(ngx_event_pipe_t *p, ngx_int_t do_write);

/*
 The input filter for protocols whose body comes without framing: appends a
 shadow of `buf` to the pipe's `in`, and drops what exceeds `length`.

 Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.

 # Safety

 As for [`ngx_event_pipe`]; `buf` is a raw buffer of this pipe, on none of
 its lists.
 */
ngx_int_t ngx_event_pipe_copy_input_filter(ngx_event_pipe_t *p, ngx_buf_t *buf);

/*
 Makes a raw buffer empty and free to be received into.

 Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.

 # Safety

 As for [`ngx_event_pipe`]; `b` is a raw buffer of this pipe whose data
 nobody needs any more.
 */
ngx_int_t ngx_event_pipe_add_free_buf(ngx_event_pipe_t *p, ngx_buf_t *b);

/*
 Looks after a pipe between two calls of [`ngx_event_pipe`], and after the last
 one as long as its request lives: restarts the client's timer if the client has
 taken something, gives upstream up if that has been silent for too long, and
 gives back what has been sent. Called by the module's own timer.

 # Safety

 As for [`ngx_event_pipe`], which has been called before for `p`, and which is
 not running for any pipe. Of the pipe's connections, that to upstream may be
 closed or belong to another request already.
 */
void ngx_event_pipe_rust_watch(ngx_event_pipe_t *p);

/*
 Bytes of memory for a state.
 */
size_t ngx_event_pipe_rust_state_size(void);

/*
 Makes the state of a pipe. `content_type` is that of the response, or null if the
 header has not been sent by now.

 # Safety

 As for [`ngx_event_pipe`]; `state` is memory of the size that
 [`ngx_event_pipe_rust_state_size`] tells, aligned to 16 bytes, which lives as long as
 the pipe, and so does `settings`.
 */
void ngx_event_pipe_rust_open(ngx_event_pipe_state_t *state,
                              ngx_event_pipe_t *p,
                              ngx_event_pipe_settings_t *settings,
                              const ngx_str_t *content_type);

/*
 Ends a state, with its request: gives back what the worker has lent, and closes the
 temporary files that are not nginx's.

 # Safety

 A state that [`ngx_event_pipe_rust_open`] has made, whose pipe still exists.
 */
void ngx_event_pipe_rust_close(ngx_event_pipe_state_t *state);

/*
 Bytes of memory for totals. Where all of them are zero, nothing has been counted.
 */
size_t ngx_event_pipe_rust_totals_size(void);

/*
 Adds a response that is over to the totals. With `waits`, the client has been awaited
 until now.

 # Safety

 As for [`ngx_event_pipe_rust_close`]; `totals` is memory for totals, aligned to 8
 bytes, which nobody else uses during the call.
 */
void ngx_event_pipe_rust_count(ngx_event_pipe_state_t *state, ngx_uint_t waits, void *totals);

/*
 Writes the value of a variable, which is known by its number, and returns the end of
 the text.

 # Safety

 As for [`ngx_event_pipe_rust_close`]; there are `NGX_EVENT_PIPE_RUST_VARIABLE_LEN`
 bytes from `text` on.
 */
u_char *ngx_event_pipe_rust_variable(ngx_event_pipe_state_t *state,
                                     ngx_uint_t number,
                                     u_char *text);

/*
 Writes the totals as text, as JSON or, with format 1, for Prometheus. Returns the end
 of the text.

 # Safety

 `totals` are those of [`ngx_event_pipe_rust_count`], which nobody changes during the
 call; there are `NGX_EVENT_PIPE_RUST_STATUS_LEN` bytes from `text` on.
 */
u_char *ngx_event_pipe_rust_status(const void *totals, ngx_uint_t format, u_char *text);

/*
 A worker process with so many connections starts.

 # Safety

 `log` is a log of nginx's. Called once in a process, before it has a pipe.
 */
void ngx_event_pipe_rust_init_worker(ngx_uint_t connections, ngx_log_t *log);

/*
 Tells of a module that may have put a filter in its place.

 # Safety

 `module` is a string that ends with a zero. Called after
 [`ngx_event_pipe_rust_init_worker`].
 */
void ngx_event_pipe_rust_note_filter(const char *module);

/*
 The version of this library, a string that is never freed. The pipe of
 nginx has no such function: a module that calls it cannot be linked to the
 C original by mistake.
 */
const char *ngx_event_pipe_rust_version(void);

#endif  /* _NGX_EVENT_PIPE_RUST_H_INCLUDED_ */
