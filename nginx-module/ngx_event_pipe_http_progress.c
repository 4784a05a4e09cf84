
/*
 * Who makes progress, and who is given up.
 *
 * Between the pipe and a peer there are buffers: those of TLS, of HTTP/2, of the
 * socket.  What goes into them says little about the peer, so what is looked at
 * is what comes out of them on its side.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_event_pipe_http.h"
#include "ngx_event_pipe_rust.h"


/* bytes in a socket's buffer that have not left it */

#if defined(FIONWRITE)
#define NGX_EVENT_PIPE_UNSENT  FIONWRITE
#elif defined(TIOCOUTQ)
#define NGX_EVENT_PIPE_UNSENT  TIOCOUTQ
#endif


static ngx_connection_t *ngx_event_pipe_client(ngx_http_request_t *r);
static ngx_int_t ngx_event_pipe_left(ngx_connection_t *c, int64_t *left);
static void ngx_event_pipe_restart(ngx_event_t *ev, ngx_msec_t timer);
static void ngx_event_pipe_watch_handler(ngx_event_t *ev);


/* the connection with a socket: streams of HTTP/2 share one */

static ngx_connection_t *
ngx_event_pipe_client(ngx_http_request_t *r)
{
#if (NGX_HTTP_V2)

    if (r->stream) {
        return r->stream->connection->connection;
    }

#endif

    return r->connection;
}


/*
 * Bytes that have left the socket's buffer, because the peer has acknowledged
 * them (TCP) or read them (local sockets).  The number is off by what TLS adds
 * when it sends from files, which changes only when something is sent.
 */

static ngx_int_t
ngx_event_pipe_left(ngx_connection_t *c, int64_t *left)
{
#if defined(NGX_EVENT_PIPE_UNSENT)

    int  unsent;

    if (c->fd == (ngx_socket_t) -1
        || ioctl(c->fd, NGX_EVENT_PIPE_UNSENT, &unsent) == -1)
    {
        return NGX_DECLINED;
    }

    *left = (int64_t) c->sent - unsent;

#if (NGX_SSL)

    if (c->ssl) {
        *left += (int64_t) BIO_number_written(
                                        SSL_get_wbio(c->ssl->connection));
    }

#endif

    return NGX_OK;

#else

    return NGX_DECLINED;

#endif
}


ngx_uint_t
ngx_event_pipe_glue_client_progress(ngx_event_pipe_state_t *state)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_event_pipe_progress_t   now, before;
#if (NGX_HTTP_V2)
    ngx_http_v2_stream_t       *stream;
#endif

    r = state->pipe->output_ctx;
    c = ngx_event_pipe_client(r);

    before = state->progress;
    now = before;

    if (ngx_event_pipe_left(c, &now.left) != NGX_OK) {
        return NGX_EVENT_PIPE_PROGRESS_UNKNOWN;
    }

    now.sent = r->connection->sent;

#if (NGX_HTTP_V2)

    stream = r->stream;

    if (stream) {
        now.window = stream->send_window;

        if (stream->queued == 0 && !stream->waiting) {
            /* what the connection sends is of other streams */
            now.left = before.left;
        }
    }

#endif

    state->progress = now;

    if (now.sent == before.sent
        && now.left == before.left
        && now.window == before.window)
    {
        return NGX_EVENT_PIPE_PROGRESS_NONE;
    }

    return NGX_EVENT_PIPE_PROGRESS_MADE;
}


ngx_uint_t
ngx_event_pipe_glue_upstream_progress(ngx_event_pipe_state_t *state)
{
    off_t              received;
    ngx_event_pipe_t  *p;

    p = state->pipe;
    received = p->read_length;

#if (NGX_SSL)

    if (p->upstream->ssl) {
        received += (off_t) BIO_number_read(
                                SSL_get_rbio(p->upstream->ssl->connection));
    }

#endif

    if (received == state->received) {
        return NGX_EVENT_PIPE_PROGRESS_NONE;
    }

    state->received = received;

    return NGX_EVENT_PIPE_PROGRESS_MADE;
}


/*
 * nginx frees upstream's connection, or puts it aside for another request, and
 * before 1.25.4 without a word to the pipe.
 */

ngx_uint_t
ngx_event_pipe_glue_has_upstream(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r;

    r = p->output_ctx;

    return p->upstream
           && r->upstream
           && r->upstream->pipe == p
           && r->upstream->peer.connection == p->upstream;
}


/*
 * Nobody but those who wait for the client runs the timer of its write event,
 * and a rate limit, which says so.  The socket that streams of HTTP/2 share has
 * a timer of its own.
 */

void
ngx_event_pipe_glue_restart_send_timer(ngx_event_pipe_t *p)
{
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = p->output_ctx;

    if (r->upstream == NULL || r->upstream->pipe != p
        || r->connection->data != r)
    {
        /* the main request is to be sent now, or another one of its */
        r = r->main;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    ngx_event_pipe_restart(r->connection->write, clcf->send_timeout);

#if (NGX_HTTP_V2)

    if (r->stream) {
        clcf = ngx_http_get_module_loc_conf(
                                  r->stream->connection->http_connection->conf_ctx,
                                  ngx_http_core_module);

        ngx_event_pipe_restart(r->stream->connection->connection->write,
                               clcf->send_timeout);
    }

#endif
}


/* to the millisecond: nginx leaves a timer that would move by little */

static void
ngx_event_pipe_restart(ngx_event_t *ev, ngx_msec_t timer)
{
    if (ev->timer_set && !ev->delayed) {
        ngx_del_timer(ev);
        ngx_add_timer(ev, timer);
    }
}


void
ngx_event_pipe_glue_give_up_upstream(ngx_event_pipe_t *p)
{
    p->upstream->log->action = "reading upstream";

    (void) ngx_connection_error(p->upstream, NGX_ETIMEDOUT,
                                "upstream timed out");

    ngx_post_event(p->upstream->read, &ngx_posted_events);
}


void
ngx_event_pipe_glue_watch(ngx_event_pipe_state_t *state, ngx_msec_t timer)
{
    ngx_event_t  *ev;

    ev = &state->watch;

    if (ev->timer_set) {

        if ((ngx_msec_int_t) (ev->timer.key - ngx_current_msec - timer) <= 0) {
            /* it comes in time */
            return;
        }

        ngx_del_timer(ev);
    }

    /* the connection is for the debug log */

    ev->handler = ngx_event_pipe_watch_handler;
    ev->data = state->pipe->downstream;
    ev->log = state->pipe->log;

    ngx_add_timer(ev, timer);
}


static void
ngx_event_pipe_watch_handler(ngx_event_t *ev)
{
    ngx_http_request_t      *r;
    ngx_event_pipe_state_t  *state;

    state = (ngx_event_pipe_state_t *)
                ((u_char *) ev - offsetof(ngx_event_pipe_state_t, watch));

    ev->timedout = 0;

    r = state->pipe->output_ctx;
    ngx_http_set_log_request(r->connection->log, r);

    ngx_event_pipe_rust_watch(state->pipe);
}


ngx_uint_t
ngx_event_pipe_glue_aio(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r;

    r = p->output_ctx;

    return r->aio;
}
