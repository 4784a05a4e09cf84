
/*
 * The event pipe's directives, and what it asks about a request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#ifdef SO_MEMINFO
#include <linux/sock_diag.h>
#endif

#include "ngx_event_pipe_http.h"


static void *ngx_event_pipe_create_loc_conf(ngx_conf_t *cf);
static char *ngx_event_pipe_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void ngx_event_pipe_find_stream(ngx_http_request_t *r,
    ngx_event_pipe_state_t *state);
static ngx_int_t ngx_event_pipe_http_init_process(ngx_cycle_t *cycle);
static ngx_uint_t ngx_event_pipe_is_left_to_nginx(ngx_http_request_t *r);
static ngx_event_pipe_state_t *ngx_event_pipe_find_lost(ngx_event_pipe_t *p);
static size_t ngx_event_pipe_socket_room(ngx_connection_t *c);


static ngx_conf_enum_t  ngx_event_pipe_stream[] = {
    { ngx_string("off"), NGX_EVENT_PIPE_STREAM_OFF },
    { ngx_string("on"), NGX_EVENT_PIPE_STREAM_ON },
    { ngx_string("auto"), NGX_EVENT_PIPE_STREAM_AUTO },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_event_pipe_segments[] = {
    { ngx_string("off"), NGX_EVENT_PIPE_SEGMENTS_OFF },
    { ngx_string("on"), NGX_EVENT_PIPE_SEGMENTS_ON },
    { ngx_string("auto"), NGX_EVENT_PIPE_SEGMENTS_AUTO },
    { ngx_null_string, 0 }
};


/*
 * What is made of parts that somebody waits for, each by itself.  Of those with
 * no end, a client that cannot keep up is not to be given ever older ones.
 */

static struct {
    ngx_str_t                        type;
    ngx_uint_t                       live;
} ngx_event_pipe_stream_types[] = {
    { ngx_string("text/event-stream"), 1 },
    { ngx_string("multipart/x-mixed-replace"), 1 },
    { ngx_string("application/x-ndjson"), 0 },
    { ngx_string("application/jsonl"), 0 },
    { ngx_string("application/json-seq"), 0 },
    { ngx_string("application/stream+json"), 0 },
    { ngx_null_string, 0 }
};


/*
 * Stands for the state of a pipe that has none: extensions are off, or there was
 * no memory.  A state that was created later would count wrongly.
 */

static ngx_event_pipe_state_t  ngx_event_pipe_no_state;

/* nginx's module for upstreams that speak HTTP/2; since nginx 1.29.4 */

static ngx_module_t  *ngx_event_pipe_proxy_v2;


static ngx_command_t  ngx_event_pipe_http_commands[] = {

    { ngx_string("event_pipe_extensions"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, extensions),
      NULL },

    { ngx_string("event_pipe_wide"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, wide),
      NULL },

    { ngx_string("event_pipe_lend"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, lend),
      NULL },

    { ngx_string("event_pipe_spill_fallback"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, spill_fallback),
      NULL },

    { ngx_string("event_pipe_spill_segments"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, spill_segments),
      &ngx_event_pipe_segments },

    { ngx_string("event_pipe_spill_delay"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, spill_delay),
      NULL },

    { ngx_string("event_pipe_stream"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, stream),
      &ngx_event_pipe_stream },

    { ngx_string("event_pipe_separate_timeouts"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_event_pipe_settings_t, separate_timeouts),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_event_pipe_http_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_event_pipe_create_loc_conf,        /* create location configuration */
    ngx_event_pipe_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_event_pipe_http_module = {
    NGX_MODULE_V1,
    &ngx_event_pipe_http_module_ctx,       /* module context */
    ngx_event_pipe_http_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_event_pipe_http_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_event_pipe_state_t *
ngx_event_pipe_glue_state(ngx_event_pipe_t *p)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_request_t         *r;
    ngx_event_pipe_state_t     *state;
    ngx_event_pipe_settings_t  *settings;

    r = p->output_ctx;

    if (r->signature != NGX_HTTP_MODULE) {
        /* the pipe of a module that serves something else */
        return NULL;
    }

    state = ngx_http_get_module_ctx(r, ngx_event_pipe_http_module);

    if (state == &ngx_event_pipe_no_state) {
        return NULL;
    }

    if (state && state->pipe == p) {
        return state;
    }

    state = ngx_event_pipe_find_lost(p);

    if (state) {
        return state;
    }

    settings = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);
    cln = NULL;

    if (settings->extensions && p->preread_bufs
        && !ngx_event_pipe_is_left_to_nginx(r))
    {
        cln = ngx_pool_cleanup_add(p->pool, sizeof(ngx_event_pipe_state_t));
    }

    if (cln == NULL) {
        ngx_http_set_ctx(r, &ngx_event_pipe_no_state,
                         ngx_event_pipe_http_module);
        return NULL;
    }

    cln->handler = ngx_event_pipe_http_count;
    state = cln->data;

    ngx_memzero(state, sizeof(ngx_event_pipe_state_t));

    state->pipe = p;
    state->settings = settings;
    state->counts.header_only = p->downstream_error;
    state->received = -1;
    state->started = ngx_current_msec;
    state->upstream_since = ngx_current_msec;
    state->client_since = ngx_current_msec;

    ngx_event_pipe_find_stream(r, state);

    ngx_http_set_ctx(r, state, ngx_event_pipe_http_module);

    return state;
}


/*
 * What follows a switch of protocols that the client has not asked for is no
 * body.  And upstreams that speak HTTP/2 say by RST_STREAM that a response is
 * void, so what has come of it is not hurried along either.
 */

static ngx_uint_t
ngx_event_pipe_is_left_to_nginx(ngx_http_request_t *r)
{
    if (r->upstream == NULL) {
        return 0;
    }

    if (r->upstream->headers_in.status_n == NGX_HTTP_SWITCHING_PROTOCOLS) {
        return 1;
    }

    return ngx_event_pipe_proxy_v2
           && ngx_http_get_module_ctx(r, (*ngx_event_pipe_proxy_v2)) != NULL;
}


static ngx_int_t
ngx_event_pipe_http_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    ngx_event_pipe_proxy_v2 = NULL;

    for (i = 0; cycle->modules[i]; i++) {
        if (ngx_strcmp(cycle->modules[i]->name, "ngx_http_proxy_v2_module")
            == 0)
        {
            ngx_event_pipe_proxy_v2 = cycle->modules[i];
        }
    }

    return ngx_event_pipe_http_find_unknown(cycle);
}


/*
 * A filter that answers the request in its own way, and an internal redirect,
 * reset the contexts of all modules: then the state is found by its cleanup
 * handler.
 */

static ngx_event_pipe_state_t *
ngx_event_pipe_find_lost(ngx_event_pipe_t *p)
{
    ngx_pool_cleanup_t      *cln;
    ngx_event_pipe_state_t  *state;

    for (cln = p->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_event_pipe_http_count) {
            continue;
        }

        state = cln->data;

        if (state->pipe == p) {
            return state;
        }
    }

    return NULL;
}


/*
 * A header that has not been sent by now waits for a filter that needs the
 * whole body.
 */

static void
ngx_event_pipe_find_stream(ngx_http_request_t *r, ngx_event_pipe_state_t *state)
{
    size_t       len;
    ngx_str_t   *type, *known;
    ngx_uint_t   i, stream;

    stream = state->settings->stream;

    if (stream == NGX_EVENT_PIPE_STREAM_OFF || !r->header_sent) {
        return;
    }

    state->stream = (stream == NGX_EVENT_PIPE_STREAM_ON);

    type = &r->headers_out.content_type;

    for (len = 0; len < type->len; len++) {
        if (type->data[len] == ';' || type->data[len] == ' ') {
            break;
        }
    }

    for (i = 0; ngx_event_pipe_stream_types[i].type.len; i++) {
        known = &ngx_event_pipe_stream_types[i].type;

        if (known->len == len
            && ngx_strncasecmp(known->data, type->data, len) == 0)
        {
            state->stream = 1;
            state->live = ngx_event_pipe_stream_types[i].live;
            return;
        }
    }
}


/* what came during a subrequest is postponed, and goes on when asked for */

ngx_uint_t
ngx_event_pipe_glue_output_holds(ngx_event_pipe_t *p)
{
    ngx_http_request_t  *r;

    r = p->output_ctx;

    return r->buffered || r->postponed || p->downstream->buffered;
}


/*
 * A FastCGI server that has said that the response is over need not close the
 * connection.  What looks like its word and is not does no harm: then the filter
 * gets the buffer earlier than it would.
 */

ngx_uint_t
ngx_event_pipe_glue_seems_ended(ngx_event_pipe_t *p, ngx_buf_t *raw)
{
    size_t                len, skip, zeros;
    ngx_http_request_t   *r;
    ngx_http_upstream_t  *u;

    /* the header of the record END_REQUEST; 8 bytes follow it */
    static u_char  header[] = { 1, 3, 0, 1, 0, 8 };

    r = p->output_ctx;
    u = r->upstream;

    if (u->schema.len != sizeof("fastcgi://") - 1
        || ngx_strncmp(u->schema.data, "fastcgi://", u->schema.len) != 0)
    {
        return 0;
    }

    len = raw->last - raw->pos;

    if (len >= 16) {
        return ngx_memcmp(raw->last - 16, header, sizeof(header)) == 0;
    }

    /* the record's beginning may be in the buffer before; it ends with zeros */

    skip = 16 - len;
    zeros = ngx_min(len, 3);

    return ngx_memcmp(raw->last - zeros, "\0\0", zeros) == 0
           && (skip >= sizeof(header)
               || ngx_memcmp(raw->pos, header + skip, sizeof(header) - skip)
                  == 0);
}


size_t
ngx_event_pipe_glue_waiting(ngx_connection_t *c)
{
    ngx_event_t  *rev;
#if (NGX_HAVE_FIONREAD)
    int           waiting;
#endif

    rev = c->read;

#if (NGX_HAVE_FIONREAD)

    /*
     * nginx asks when a read has filled all it was given; to ask before is
     * to spare it that.  Zero is left for a read to find out what it means.
     */

    if (rev->available < 0
#if (NGX_SSL)
        && c->ssl == NULL
#endif
        && ngx_socket_nread(c->fd, &waiting) != -1
        && waiting > 0)
    {
        rev->available = waiting;
    }

#endif

    return rev->available > 0 ? (size_t) rev->available : 0;
}


/*
 * The socket's free space, and no more than HTTP/2 lets through.  Whatever else
 * keeps data back makes the room unknown: a rate limit, a filter that still has
 * some, QUIC.
 */

size_t
ngx_event_pipe_glue_room(ngx_event_pipe_t *p)
{
    size_t                     room;
    ngx_connection_t          *c;
    ngx_http_request_t        *r, *main;
    ngx_http_core_loc_conf_t  *clcf;
#if (NGX_HTTP_V2)
    ngx_http_v2_connection_t  *h2c;
#endif

    c = p->downstream;
    r = p->output_ctx;

    if (c->buffered || c->error || c->fd == (ngx_socket_t) -1) {
        return 0;
    }

    /* the output of subrequests is that of the main request */

    main = r->main;
    clcf = ngx_http_get_module_loc_conf(main, ngx_http_core_module);

    if (main->limit_rate_set ? main->limit_rate != 0
                             : clcf->limit_rate != NULL)
    {
        return 0;
    }

#if (NGX_HTTP_V3)
    if (r->http_version == NGX_HTTP_VERSION_30) {
        return 0;
    }
#endif

    room = ngx_event_pipe_socket_room(c);

#if (NGX_HTTP_V2)

    if (r->stream) {
        h2c = r->stream->connection;

        if (h2c->last_out || r->stream->send_window <= 0) {
            return 0;
        }

        room = ngx_min(room, h2c->send_window);
        room = ngx_min(room, (size_t) r->stream->send_window);
    }

#endif

    return room;
}


static size_t
ngx_event_pipe_socket_room(ngx_connection_t *c)
{
#ifdef SO_MEMINFO

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

    /* what the kernel adds to the data: little to that of TCP */

    return c->sockaddr->sa_family == AF_UNIX ? room / 2 : room - room / 8;

#else

    return 0;

#endif
}


/*
 * As nginx does it when a response does not end well.  The file stays open: what
 * it has of the response is still to be sent.
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


static void *
ngx_event_pipe_create_loc_conf(ngx_conf_t *cf)
{
    ngx_event_pipe_settings_t  *settings;

    settings = ngx_palloc(cf->pool, sizeof(ngx_event_pipe_settings_t));
    if (settings == NULL) {
        return NULL;
    }

    settings->extensions = NGX_CONF_UNSET;
    settings->wide = NGX_CONF_UNSET;
    settings->lend = NGX_CONF_UNSET_SIZE;
    settings->spill_fallback = NGX_CONF_UNSET;
    settings->spill_segments = NGX_CONF_UNSET_UINT;
    settings->spill_delay = NGX_CONF_UNSET_MSEC;
    settings->stream = NGX_CONF_UNSET_UINT;
    settings->separate_timeouts = NGX_CONF_UNSET;

    return settings;
}


static char *
ngx_event_pipe_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_event_pipe_settings_t *prev = parent;
    ngx_event_pipe_settings_t *conf = child;

    ngx_conf_merge_value(conf->extensions, prev->extensions, 1);
    ngx_conf_merge_value(conf->wide, prev->wide, 1);
    ngx_conf_merge_size_value(conf->lend, prev->lend, 1024 * 1024);
    ngx_conf_merge_value(conf->spill_fallback, prev->spill_fallback, 1);
    ngx_conf_merge_uint_value(conf->spill_segments, prev->spill_segments,
                              NGX_EVENT_PIPE_SEGMENTS_AUTO);
    ngx_conf_merge_msec_value(conf->spill_delay, prev->spill_delay, 0);
    ngx_conf_merge_uint_value(conf->stream, prev->stream,
                              NGX_EVENT_PIPE_STREAM_AUTO);
    ngx_conf_merge_value(conf->separate_timeouts, prev->separate_timeouts, 1);

    return NGX_CONF_OK;
}
