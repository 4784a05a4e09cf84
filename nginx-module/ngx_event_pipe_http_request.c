
/*
 * What the event pipe asks a request, and has a request do.
 *
 * Between the pipe and the client there are buffers: those of TLS, of HTTP/2,
 * of the socket.  The bytes that go into these buffers say little about the
 * client, so this file looks at the bytes that leave them on the client's
 * side.
 */


#include "ngx_event_pipe_http.h"

/* without the kernel's headers, as with musl, the client's room is not known */

#if defined(SO_MEMINFO) && defined(__has_include)
#if __has_include(<linux/sock_diag.h>)
#include <linux/sock_diag.h>
#define NGX_EVENT_PIPE_MEMINFO  1
#endif
#endif


/* the request of ioctl() for the bytes that are still in a socket's buffer */

#if defined(FIONWRITE)
#define NGX_EVENT_PIPE_UNSENT  FIONWRITE
#elif defined(TIOCOUTQ)
#define NGX_EVENT_PIPE_UNSENT  TIOCOUTQ
#endif


static size_t ngx_event_pipe_socket_room(ngx_connection_t *c);
static ngx_int_t ngx_event_pipe_left(ngx_connection_t *c, int64_t *left);
static void ngx_event_pipe_restart(ngx_event_t *ev, void **loc_conf);
static void ngx_event_pipe_watch_handler(ngx_event_t *ev);


extern ngx_module_t  ngx_http_copy_filter_module;


/*
 * data that came during a subrequest is postponed, and sent on when the output
 * filter is called again
 */

ngx_uint_t
ngx_event_pipe_glue_output_holds(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r = p->output_ctx;

    return r->buffered || r->postponed || p->downstream->buffered;
}


ngx_uint_t
ngx_event_pipe_glue_aio(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r = p->output_ctx;

    return r->aio;
}


ngx_uint_t
ngx_event_pipe_glue_is_limited(ngx_event_pipe_t *p)
{
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = ((ngx_http_request_t *) p->output_ctx)->main;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return r->limit_rate_set ? r->limit_rate != 0 : clcf->limit_rate != NULL;
}


/*
 * The room is the socket's free space, and no more than HTTP/2 lets through.
 * Whatever else keeps data back makes the room unknown (0): a rate limit, a
 * filter that still holds data, QUIC.  A subrequest is sent by the output of
 * the main request.
 */

size_t
ngx_event_pipe_glue_room(ngx_event_pipe_t *p)
{
    size_t               room;
    ngx_connection_t    *c;
#if (NGX_HTTP_V2 || NGX_HTTP_V3)
    ngx_http_request_t  *r = ((ngx_http_request_t *) p->output_ctx)->main;
#endif

    c = p->downstream;

    if (c->buffered || c->error || c->fd == (ngx_socket_t) -1
        || ngx_event_pipe_glue_is_limited(p)
#if (NGX_HTTP_V3)
        || r->http_version == NGX_HTTP_VERSION_30
#endif
       )
    {
        return 0;
    }

    room = ngx_event_pipe_socket_room(c);

#if (NGX_HTTP_V2)

    if (r->stream) {

        if (r->stream->connection->last_out || r->stream->send_window <= 0) {
            return 0;
        }

        room = ngx_min(room, r->stream->connection->send_window);
        room = ngx_min(room, (size_t) r->stream->send_window);
    }

#endif

    return room;
}


static size_t
ngx_event_pipe_socket_room(ngx_connection_t *c)
{
#if (NGX_EVENT_PIPE_MEMINFO)

    uint32_t   mem[SK_MEMINFO_VARS], used, room;
    socklen_t  len;

    len = sizeof(mem);

    if (getsockopt(c->fd, SOL_SOCKET, SO_MEMINFO, mem, &len) == -1
        || len < (SK_MEMINFO_WMEM_QUEUED + 1) * sizeof(uint32_t))
    {
        return 0;
    }

    used = ngx_max(mem[SK_MEMINFO_WMEM_ALLOC], mem[SK_MEMINFO_WMEM_QUEUED]);

    if (used >= mem[SK_MEMINFO_SNDBUF]) {
        return 0;
    }

    room = mem[SK_MEMINFO_SNDBUF] - used;

    /* the kernel's own data takes a part of the space: with TCP a small one */

    return c->sockaddr->sa_family == AF_UNIX ? room / 2 : room - room / 8;

#else

    return 0;

#endif
}


/*
 * A FastCGI server that has said that the response is over need not close the
 * connection, so the raw buffer may wait for more in vain.  Data that looks
 * like the end and is not does no harm: then the input filter is given the
 * buffer earlier than it would be.
 */

ngx_uint_t
ngx_event_pipe_glue_seems_ended(ngx_event_pipe_t *p, ngx_buf_t *raw)
{
    size_t               len, skip, zeros;
    ngx_str_t           *schema;
    ngx_http_request_t  *r;

    /* the header of the record END_REQUEST; 8 bytes follow the header */
    static u_char  header[] = { 1, 3, 0, 1, 0, 8 };

    r = p->output_ctx;
    schema = &r->upstream->schema;

    if (schema->len != sizeof("fastcgi://") - 1
        || ngx_strncmp(schema->data, "fastcgi://", schema->len) != 0)
    {
        return 0;
    }

    len = raw->last - raw->pos;

    if (len >= 16) {
        return ngx_memcmp(raw->last - 16, header, sizeof(header)) == 0;
    }

    /* the record may begin in the buffer before; the record ends with zeros */

    skip = 16 - len;
    zeros = ngx_min(len, 3);

    return ngx_memcmp(raw->last - zeros, "\0\0", zeros) == 0
           && (skip >= sizeof(header)
               || ngx_memcmp(raw->pos, header + skip, sizeof(header) - skip)
                  == 0);
}


/*
 * Gives up the cache entry or the stored file, as nginx does when a response
 * fails.  The file stays open: the data in it is still to be sent.
 */

void
ngx_event_pipe_glue_discard(ngx_event_pipe_t *p)
{
    ngx_file_t           *file;
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    r = p->output_ctx;
    u = r->upstream;
    file = &p->temp_file->file;

#if (NGX_HTTP_CACHE)

    if (u->cacheable) {
        u->cacheable = 0;
        ngx_http_file_cache_free(r->cache, p->temp_file);
    }

#endif

    if (u->store) {
        u->store = 0;

        if (file->fd != NGX_INVALID_FILE
            && ngx_delete_file(file->name.data) == NGX_FILE_ERROR)
        {
            ngx_log_error(NGX_LOG_CRIT, p->log, ngx_errno,
                          ngx_delete_file_n " \"%s\" failed",
                          file->name.data);
        }
    }
}


/*
 * The copy filter decides once, with its first output for the request, how it
 * hands on the data of a file buffer.  With sendfile, and a filter that wants
 * to see the data, the copy filter reads the data, marks the file buffer as
 * sent, and has sendfile() send from the file all the same: then the file must
 * stay open.  TLS sends from memory, unless the kernel does TLS.
 */

ngx_uint_t
ngx_event_pipe_glue_may_close(ngx_event_pipe_t *p)
{
    ngx_http_request_t      *r;
    ngx_output_chain_ctx_t  *ctx;

    r = p->output_ctx;
    ctx = ngx_http_get_module_ctx(r, ngx_http_copy_filter_module);

    if (ctx == NULL) {
        /* the copy filter has not decided yet, or its context has been reset */
        return 0;
    }

#if (NGX_SSL)

    if (p->downstream->ssl && !p->downstream->ssl->sendfile) {
        return 1;
    }

#endif

    return !ctx->sendfile || !ctx->need_in_memory;
}


ngx_int_t
ngx_event_pipe_glue_client_progress(ngx_event_pipe_t *p,
    ngx_event_pipe_progress_t *progress)
{
    int64_t              left;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = p->output_ctx;
    c = r->connection;

#if (NGX_HTTP_V2)

    if (r->stream) {
        /* streams of HTTP/2 share one connection with a socket */
        c = r->stream->connection->connection;
    }

#endif

    if (ngx_event_pipe_left(c, &left) != NGX_OK) {
        return NGX_DECLINED;
    }

    progress->sent = r->connection->sent;

#if (NGX_HTTP_V2)

    if (r->stream) {
        progress->window = r->stream->send_window;

        if (r->stream->queued == 0 && !r->stream->waiting) {
            /* the connection is sending data of other streams only */
            return NGX_OK;
        }
    }

#endif

    progress->left = left;

    return NGX_OK;
}


/*
 * Computes how many bytes have left the socket's buffer, because the peer has
 * acknowledged them (TCP) or read them (local sockets).  The number is off by
 * what TLS adds when it sends from files, but that error changes only when
 * something is sent.
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


/*
 * nginx closes upstream's connection, or keeps it for another request, and
 * before 1.25.4 nginx does so without telling the pipe.
 */

ngx_uint_t
ngx_event_pipe_glue_has_upstream(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r = p->output_ctx;

    return p->upstream
           && r->upstream
           && r->upstream->pipe == p
           && r->upstream->peer.connection == p->upstream;
}


void
ngx_event_pipe_glue_resume(ngx_event_pipe_t *p)
{
    ngx_event_t  *rev;

    if (ngx_event_pipe_glue_has_upstream(p)) {
        rev = p->upstream->read;
        rev->handler(rev);
    }
}


/*
 * The timer of the client's write event runs only while somebody waits for the
 * client, or for a rate limit, in which case the event is delayed.  The socket
 * that streams of HTTP/2 share has a timer of its own.
 */

void
ngx_event_pipe_glue_restart_send_timer(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r;

    r = p->output_ctx;

    if (r->upstream == NULL || r->upstream->pipe != p
        || r->connection->data != r)
    {
        /* the connection sends the main request or another subrequest now */
        r = r->main;
    }

    ngx_event_pipe_restart(r->connection->write, r->loc_conf);

#if (NGX_HTTP_V2)

    if (r->stream) {
        ngx_event_pipe_restart(r->stream->connection->connection->write,
                 r->stream->connection->http_connection->conf_ctx->loc_conf);
    }

#endif
}


/* nginx moves a timer by a few milliseconds only after it was deleted */

static void
ngx_event_pipe_restart(ngx_event_t *ev, void **loc_conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = loc_conf[ngx_http_core_module.ctx_index];

    if (ev->timer_set && !ev->delayed) {
        ngx_del_timer(ev);
        ngx_add_timer(ev, clcf->send_timeout);
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


/* "ev->data" is for the debug log only */

void
ngx_event_pipe_glue_watch(ngx_event_pipe_t *p, ngx_msec_t timer)
{
    ngx_event_t  *ev;

    ev = &ngx_event_pipe_find_ctx(p->output_ctx, p)->watch;

    if (ev->timer_set) {

        if ((ngx_msec_int_t) (ev->timer.key - ngx_current_msec - timer) <= 0) {
            /* the timer expires early enough */
            return;
        }

        ngx_del_timer(ev);
    }

    ev->handler = ngx_event_pipe_watch_handler;
    ev->data = p->downstream;
    ev->log = p->log;

    ngx_add_timer(ev, timer);
}


static void
ngx_event_pipe_watch_handler(ngx_event_t *ev)
{
    ngx_http_request_t    *r;
    ngx_event_pipe_ctx_t  *ctx;

    ctx = (ngx_event_pipe_ctx_t *)
              ((u_char *) ev - offsetof(ngx_event_pipe_ctx_t, watch));

    ev->timedout = 0;

    r = ctx->pipe->output_ctx;
    ngx_http_set_log_request(r->connection->log, r);

    ngx_event_pipe_rust_watch(ctx->pipe);
}
