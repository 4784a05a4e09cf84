#ifndef _NGX_EVENT_PIPE_RUST_H_INCLUDED_
#define _NGX_EVENT_PIPE_RUST_H_INCLUDED_

/* What the Rust event pipe exports; written by cbindgen from src/exports.rs. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>
#include "ngx_event_pipe_glue.h"

/*
 The zone of names that are too many.
 */
#define NGX_EVENT_PIPE_RUST_OVERFLOW 1

/*
 The most bytes that the text of a variable takes.
 */
#define NGX_EVENT_PIPE_RUST_VARIABLE_LEN 32

/*
 Moves data from upstream to the client, as far as that goes without waiting: sends
 first if `do_write` is not zero, then receives and sends in turn until neither goes
 on, and finally registers the events and timers that continue the work.

 Returns `NGX_OK`, or `NGX_ABORT` if the request has to be finalized. The flags
 `upstream_eof`, `upstream_error`, `upstream_done` and `downstream_error` of the pipe
 tell how far the response has come.

 # Safety

 `p` is a pipe that an upstream module has set up: `downstream`, `pool`, `log`,
 `temp_file`, both filters and the buffer sizes are set, the other fields are zero or
 were left by an earlier call. Everything that `p` points to stays allocated until
 this function returns. This function calls the filters, `recv_chain` and the thread
 handler, which may change the pipe; none of them may call this function for the same
 pipe.
 */
ngx_int_t ngx_event_pipe(ngx_event_pipe_t *p, ngx_int_t do_write);

/*
 The input filter for protocols whose body comes without framing: appends a shadow of
 `buf` to the pipe's `in`, and drops the bytes that exceed `length`.

 Returns `NGX_OK`, or `NGX_ERROR` if there is no memory.

 # Safety

 As for [`ngx_event_pipe`]; `buf` is a raw buffer of this pipe that is on none of the
 pipe's chains.
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
 Does what a pipe needs between two calls of [`ngx_event_pipe`], and after the last
 call as long as the request lives: restarts the client's timer if the client has
 taken something, gives upstream up if upstream has sent nothing for too long, and
 gives loans and temporary files back once they have been sent. The module's own
 timer calls this function.

 # Safety

 As for [`ngx_event_pipe`], which has been called before for `p`, and which is not
 running for any pipe. The pipe's connection to upstream may be closed or belong to
 another request already.
 */
void ngx_event_pipe_rust_watch(ngx_event_pipe_t *p);

/*
 Ends a cycle of events for the pipes of this worker. The module calls this function
 when the events of a cycle have been handled, if the library has asked for that
 (`ngx_event_pipe_glue_end_cycle`). This function serves the pipes that wait for their
 turn, as many as may move: for each of them, nginx's own handler is called, which
 runs [`ngx_event_pipe`] and may end the request.
 */
void ngx_event_pipe_rust_end_cycle(void);

/*
 Gives memory that the worker has not lent for a while back to the system. The module
 calls this function after a time, if the library has asked for that
 (`ngx_event_pipe_glue_idle`).
 */
void ngx_event_pipe_rust_idle(void);

/*
 How many bytes of memory a state needs.
 */
size_t ngx_event_pipe_rust_state_size(void);

/*
 Makes the state of a pipe. `content_type` is the content type of the response, or
 null if the response's header has not been sent by now. The response is counted on
 the board in the zone with this number; nowhere if `board` is null.

 # Safety

 As for [`ngx_event_pipe`]; `state` is memory of [`ngx_event_pipe_rust_state_size`]
 bytes, aligned to 16 bytes. `state`, `settings` and `board` live as long as the pipe.
 */
void ngx_event_pipe_rust_open(ngx_event_pipe_state_t *state,
                              ngx_event_pipe_t *p,
                              ngx_event_pipe_settings_t *settings,
                              const ngx_str_t *content_type,
                              const void *board,
                              ngx_uint_t zone);

/*
 Ends a state when its request ends: counts the response, gives the loans back to the
 worker, and closes the temporary files that are not nginx's. If `waits` is not zero,
 the time since the last turn counts too: as time that the client was waited for, or
 that upstream was held back, if either was so when the turn ended.

 # Safety

 `state` is a state that [`ngx_event_pipe_rust_open`] has made, and its pipe still
 exists.
 */
void ngx_event_pipe_rust_close(ngx_event_pipe_state_t *state, ngx_uint_t waits);

/*
 How many bytes of shared memory the board of an nginx needs that has `cpus`
 processors to run workers on.
 */
size_t ngx_event_pipe_rust_board_size(ngx_uint_t cpus);

/*
 Makes an empty board, on which the workers count.

 # Safety

 `board` is memory of [`ngx_event_pipe_rust_board_size`] bytes, all of them zero,
 aligned to 64 bytes, and nobody uses it yet.
 */
void ngx_event_pipe_rust_create_board(void *board, size_t size);

/*
 Whether a zone may have this name; not 0 if it may.

 # Safety

 `name` is a string.
 */
ngx_uint_t ngx_event_pipe_rust_is_zone(const ngx_str_t *name);

/*
 The number of the zone with this name, 0 if the name is empty;
 `NGX_CONF_UNSET_UINT` if there is no such zone yet.

 # Safety

 `board` is a board, `name` is a string.
 */
ngx_uint_t ngx_event_pipe_rust_find_zone(const void *board, const ngx_str_t *name);

/*
 As [`ngx_event_pipe_rust_find_zone`], but if there is no such zone, makes one, as long
 as there are fewer than `most`; `NGX_EVENT_PIPE_RUST_OVERFLOW` if there are not. Sets
 `is_first` to 1 if that has never been so before.

 # Safety

 As for [`ngx_event_pipe_rust_find_zone`]; the caller has the mutex of the memory that
 the board is in. `is_first` is a number of the caller's.
 */
ngx_uint_t ngx_event_pipe_rust_add_zone(const void *board,
                                        const ngx_str_t *name,
                                        ngx_uint_t most,
                                        ngx_uint_t *is_first);

/*
 Writes the value of the variable with this number, and returns the end of the text.

 # Safety

 As for [`ngx_event_pipe_rust_close`]; there are `NGX_EVENT_PIPE_RUST_VARIABLE_LEN`
 bytes from `text` on.
 */
u_char *ngx_event_pipe_rust_variable(ngx_event_pipe_state_t *state,
                                     ngx_uint_t number,
                                     u_char *text);

/*
 The number of the format of the status that has this name; `NGX_CONF_UNSET_UINT`
 if none has.

 # Safety

 `name` is a string.
 */
ngx_uint_t ngx_event_pipe_rust_find_format(const ngx_str_t *name);

/*
 Chooses the form of the status, and how much memory it takes to write it: `format` is
 the number of a format, and `accept` the request's header of that name, or null.

 # Safety

 `board` is a board, `accept` is null or a string, `page` is a structure of the
 caller's.
 */
void ngx_event_pipe_rust_choose(const void *board,
                                ngx_uint_t format,
                                const ngx_str_t *accept,
                                ngx_event_pipe_page_t *page);

/*
 Writes the status into memory, unless the text is the same at any time. Sets the text
 of the page.

 # Safety

 As for [`ngx_event_pipe_rust_choose`], which has filled `page` in. From `memory` on,
 there are as many bytes as `page` says, aligned to 16 bytes, which nobody else uses.
 */
void ngx_event_pipe_rust_status(const void *board, u_char *memory, ngx_event_pipe_page_t *page);

/*
 Prepares the library when a worker process starts, one of `workers`, whose limit of
 connections (`worker_connections`) is `connections`.

 # Safety

 `log` is a log of nginx's. nginx calls this function once in a process, before the
 process has a pipe.
 */
void ngx_event_pipe_rust_init_worker(ngx_uint_t workers, ngx_uint_t connections, ngx_log_t *log);

/*
 Notes the name of a module that may have installed a filter in nginx.

 # Safety

 `module` is a string that ends with a zero.
 */
void ngx_event_pipe_rust_note_filter(const char *module);

/*
 The version of this library, a string that is never freed. nginx's own pipe has no
 such function, so a module that calls this function cannot be linked to nginx's pipe
 by mistake.
 */
const char *ngx_event_pipe_rust_version(void);

#endif  /* _NGX_EVENT_PIPE_RUST_H_INCLUDED_ */
