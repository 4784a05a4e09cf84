#ifndef _NGX_EVENT_PIPE_RUST_H_INCLUDED_
#define _NGX_EVENT_PIPE_RUST_H_INCLUDED_

/* What the Rust event pipe exports; written by cbindgen from src/exports.rs. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

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
 The version of this library, a string that is never freed. The pipe of
 nginx has no such function: a module that calls it cannot be linked to the
 C original by mistake.
 */
const char *ngx_event_pipe_rust_version(void);

#endif  /* _NGX_EVENT_PIPE_RUST_H_INCLUDED_ */
