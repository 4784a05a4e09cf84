
/*
 * The event pipe's directives and variables, and the context of a request.
 */


#include "ngx_event_pipe_http.h"


static ngx_event_pipe_ctx_t *ngx_event_pipe_create_ctx(ngx_http_request_t *r,
    ngx_event_pipe_t *p);
static ngx_uint_t ngx_event_pipe_is_left_to_nginx(ngx_http_request_t *r);
static void ngx_event_pipe_cleanup(void *data);
static ngx_int_t ngx_event_pipe_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_event_pipe_add_variables(ngx_conf_t *cf);
static void *ngx_event_pipe_create_main_conf(ngx_conf_t *cf);
static void *ngx_event_pipe_create_loc_conf(ngx_conf_t *cf);
static char *ngx_event_pipe_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_conf_set_size_or_auto_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_event_pipe_http_init_process(ngx_cycle_t *cycle);


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


static ngx_conf_num_bounds_t  ngx_event_pipe_zones_bounds = {
    ngx_conf_check_num_bounds, 1, NGX_EVENT_PIPE_ZONES
};


#define ngx_event_pipe_setting(name, args, type, post)                        \
    ngx_event_pipe_directive(#name, name, args, type, post)

#define ngx_event_pipe_directive(text, name, args, type, post)                \
    { ngx_string("event_pipe_" text),                                         \
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|args,            \
      ngx_conf_set_##type##_slot,                                             \
      NGX_HTTP_LOC_CONF_OFFSET,                                               \
      offsetof(ngx_event_pipe_loc_conf_t, settings.name),                     \
      post }

static ngx_command_t  ngx_event_pipe_commands[] = {

    ngx_event_pipe_setting(extensions, NGX_CONF_FLAG, flag, NULL),
    ngx_event_pipe_setting(wide, NGX_CONF_FLAG, flag, NULL),
    ngx_event_pipe_setting(memory, NGX_CONF_TAKE1, size_or_auto, NULL),

    /* the former name of event_pipe_memory */
    ngx_event_pipe_directive("lend", memory, NGX_CONF_TAKE1, size_or_auto,
                             NULL),

    ngx_event_pipe_setting(spill_fallback, NGX_CONF_FLAG, flag, NULL),
    ngx_event_pipe_setting(spill_segments, NGX_CONF_TAKE1, enum,
                           &ngx_event_pipe_segments),
    ngx_event_pipe_setting(spill_delay, NGX_CONF_TAKE1, msec, NULL),
    ngx_event_pipe_setting(stream, NGX_CONF_TAKE1, enum,
                           &ngx_event_pipe_stream),
    ngx_event_pipe_setting(separate_timeouts, NGX_CONF_FLAG, flag, NULL),
    ngx_event_pipe_setting(max_chunk, NGX_CONF_TAKE1, size, NULL),

    { ngx_string("event_pipe_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_event_pipe_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("event_pipe_zone"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_event_pipe_zone,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("event_pipe_zones"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_event_pipe_main_conf_t, zones),
      &ngx_event_pipe_zones_bounds },

      ngx_null_command
};


static ngx_http_module_t  ngx_event_pipe_http_module_ctx = {
    ngx_event_pipe_add_variables,          /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_event_pipe_create_main_conf,       /* create main configuration */
    ngx_event_pipe_init_main_conf,         /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_event_pipe_create_loc_conf,        /* create location configuration */
    ngx_event_pipe_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_event_pipe_http_module = {
    NGX_MODULE_V1,
    &ngx_event_pipe_http_module_ctx,       /* module context */
    ngx_event_pipe_commands,               /* module directives */
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


/* the library knows a variable by its place in this table */

static ngx_str_t  ngx_event_pipe_variables[] = {
    ngx_string("event_pipe_spilled"),
    ngx_string("event_pipe_peak"),
    ngx_string("event_pipe_buffers"),
    ngx_string("event_pipe_buffers_max"),
    ngx_string("event_pipe_blocked_count"),
    ngx_string("event_pipe_blocked_time"),
    ngx_string("event_pipe_client_time"),
    ngx_string("event_pipe_reads"),
    ngx_string("event_pipe_writes"),
    ngx_string("event_pipe_end"),
    ngx_string("event_pipe_memory"),
    ngx_null_string
};


/*
 * The context of all pipes that have no context of their own: extensions are
 * off, or there was no memory.  A state that was created later would count
 * wrongly, so none is.
 */

static ngx_event_pipe_ctx_t  ngx_event_pipe_no_ctx;

/* nginx's module for upstreams that speak HTTP/2 (since nginx 1.29.4) */

static ngx_module_t         *ngx_event_pipe_proxy_v2;


ngx_event_pipe_state_t *
ngx_event_pipe_glue_open_state(ngx_event_pipe_t *p)
{
    ngx_http_request_t    *r;
    ngx_event_pipe_ctx_t  *ctx;

    r = p->output_ctx;
    ctx = ngx_event_pipe_find_ctx(r, p);

    if (ctx == NULL) {
        ctx = ngx_event_pipe_create_ctx(r, p);
        ngx_http_set_ctx(r, ctx, ngx_event_pipe_http_module);
    }

    return ctx->state;
}


ngx_event_pipe_state_t *
ngx_event_pipe_glue_state(ngx_event_pipe_t *p)
{
    ngx_event_pipe_ctx_t  *ctx;

    ctx = ngx_event_pipe_find_ctx(p->output_ctx, p);

    return ctx ? ctx->state : NULL;
}


/*
 * A filter that answers the request in its own way resets the contexts of all
 * modules, and so does an internal redirect.  After that, the context is found
 * by its cleanup handler.
 */

ngx_event_pipe_ctx_t *
ngx_event_pipe_find_ctx(ngx_http_request_t *r, ngx_event_pipe_t *p)
{
    ngx_pool_cleanup_t    *cln;
    ngx_event_pipe_ctx_t  *ctx;

    if (r->signature != NGX_HTTP_MODULE) {
        /* this pipe belongs to a module that serves something else than HTTP */
        return &ngx_event_pipe_no_ctx;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_event_pipe_http_module);

    if (ctx == &ngx_event_pipe_no_ctx
        || (ctx && (p == NULL || ctx->pipe == p)))
    {
        return ctx;
    }

    for (cln = p ? p->pool->cleanup : r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_event_pipe_cleanup) {
            continue;
        }

        ctx = cln->data;

        if (p ? ctx->pipe == p : ctx->pipe->output_ctx == r) {
            return ctx;
        }
    }

    return NULL;
}


static ngx_event_pipe_ctx_t *
ngx_event_pipe_create_ctx(ngx_http_request_t *r, ngx_event_pipe_t *p)
{
    ngx_str_t                  *type;
    ngx_pool_cleanup_t         *cln;
    ngx_event_pipe_ctx_t       *ctx;
    ngx_event_pipe_loc_conf_t  *plcf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);

    if (!plcf->settings.extensions || p->preread_bufs == NULL
        || ngx_event_pipe_is_left_to_nginx(r))
    {
        return &ngx_event_pipe_no_ctx;
    }

    cln = ngx_pool_cleanup_add(p->pool, sizeof(ngx_event_pipe_ctx_t)
                                        + NGX_EVENT_PIPE_ALIGNMENT
                                        + ngx_event_pipe_rust_state_size());
    if (cln == NULL) {
        return &ngx_event_pipe_no_ctx;
    }

    cln->handler = ngx_event_pipe_cleanup;
    ctx = cln->data;

    ngx_memzero(ctx, sizeof(ngx_event_pipe_ctx_t));

    ctx->pipe = p;
    ctx->state = (ngx_event_pipe_state_t *)
                     ngx_align_ptr(ctx + 1, NGX_EVENT_PIPE_ALIGNMENT);

    /* a filter that has not sent the header by now needs the whole body */

    type = r->header_sent ? &r->headers_out.content_type : NULL;

    ngx_event_pipe_rust_open(ctx->state, p, &plcf->settings, type,
                             ngx_event_pipe_board(r),
                             ngx_event_pipe_find_zone(r));

    return ctx;
}


/*
 * Whether the pipe does for a request what nginx does.  What follows a switch
 * of protocols that the client has not asked for is no body.  And upstreams
 * that speak HTTP/2 say by RST_STREAM that a response is void, so the data of
 * their responses is not passed on earlier than under nginx either.
 */

static ngx_uint_t
ngx_event_pipe_is_left_to_nginx(ngx_http_request_t *r)
{
    if (r->upstream == NULL) {
        return 0;
    }

    return r->upstream->headers_in.status_n == NGX_HTTP_SWITCHING_PROTOCOLS
           || (ngx_event_pipe_proxy_v2
               && ngx_http_get_module_ctx(r, (*ngx_event_pipe_proxy_v2)));
}


/*
 * The pool of the main request is being destroyed, so all responses in it are
 * over.  How long the client was waited for after the last turn counts for the
 * main request only: nothing tells when a subrequest's response was sent.
 */

static void
ngx_event_pipe_cleanup(void *data)
{
    ngx_event_pipe_ctx_t *ctx = data;

    ngx_http_request_t  *r;

    r = ctx->pipe->output_ctx;

    if (ctx->watch.timer_set) {
        ngx_del_timer(&ctx->watch);
    }

    ngx_event_pipe_rust_close(ctx->state, r == r->main);
}


static ngx_int_t
ngx_event_pipe_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_event_pipe_ctx_t  *ctx;

    ctx = ngx_event_pipe_find_ctx(r, NULL);

    if (ctx == NULL || ctx->state == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, NGX_EVENT_PIPE_RUST_VARIABLE_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_event_pipe_rust_variable(ctx->state, data, v->data) - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_event_pipe_add_variables(ngx_conf_t *cf)
{
    ngx_uint_t            i;
    ngx_http_variable_t  *var;

    for (i = 0; ngx_event_pipe_variables[i].len; i++) {
        var = ngx_http_add_variable(cf, &ngx_event_pipe_variables[i],
                                    NGX_HTTP_VAR_NOCACHEABLE);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_event_pipe_variable;
        var->data = i;
    }

    return NGX_OK;
}


static void *
ngx_event_pipe_create_main_conf(ngx_conf_t *cf)
{
    ngx_event_pipe_main_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_event_pipe_main_conf_t));

    if (conf == NULL
        || ngx_array_init(&conf->names, cf->pool, 8,
                          sizeof(ngx_event_pipe_name_t)) != NGX_OK)
    {
        return NULL;
    }

    conf->zones = NGX_CONF_UNSET;

    return conf;
}


static void *
ngx_event_pipe_create_loc_conf(ngx_conf_t *cf)
{
    ngx_event_pipe_loc_conf_t  *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_event_pipe_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /* the value NGX_CONF_UNSET of every type */
    ngx_memset(conf, 0xff, sizeof(ngx_event_pipe_loc_conf_t));

    return conf;
}


static char *
ngx_event_pipe_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_event_pipe_loc_conf_t  *from, *to;
    ngx_event_pipe_settings_t  *prev, *conf;

    from = parent;
    to = child;
    prev = &from->settings;
    conf = &to->settings;

    ngx_conf_merge_value(conf->extensions, prev->extensions, 1);
    ngx_conf_merge_value(conf->wide, prev->wide, 1);
    ngx_conf_merge_size_value(conf->memory, prev->memory,
                              (size_t) NGX_EVENT_PIPE_MEMORY_AUTO);
    ngx_conf_merge_value(conf->spill_fallback, prev->spill_fallback, 1);
    ngx_conf_merge_uint_value(conf->spill_segments, prev->spill_segments,
                              NGX_EVENT_PIPE_SEGMENTS_AUTO);
    ngx_conf_merge_msec_value(conf->spill_delay, prev->spill_delay, 0);
    ngx_conf_merge_uint_value(conf->stream, prev->stream,
                              NGX_EVENT_PIPE_STREAM_AUTO);
    ngx_conf_merge_value(conf->separate_timeouts, prev->separate_timeouts, 1);
    ngx_conf_merge_size_value(conf->max_chunk, prev->max_chunk, 512 * 1024);

    ngx_conf_merge_ptr_value(to->name, from->name, NULL);

    ngx_event_pipe_merge_status(cf, from, to);

    return NGX_CONF_OK;
}


static char *
ngx_conf_set_size_or_auto_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    size_t     *size;
    ngx_str_t  *value;

    size = (size_t *) ((char *) conf + cmd->offset);
    value = cf->args->elts;

    if (*size == NGX_CONF_UNSET_SIZE && ngx_strcmp(value[1].data, "auto") == 0)
    {
        *size = (size_t) NGX_EVENT_PIPE_MEMORY_AUTO;
        return NGX_CONF_OK;
    }

    return ngx_conf_set_size_slot(cf, cmd, conf);
}


/*
 * Notes the modules that may have installed a filter: a module does so after
 * the configuration is read, in its "postconfiguration".
 */

static ngx_int_t
ngx_event_pipe_http_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t          i;
    ngx_module_t       *module;
    ngx_http_module_t  *ctx;

    ngx_event_pipe_proxy_v2 = NULL;

    for (i = 0; cycle->modules[i]; i++) {
        module = cycle->modules[i];

        if (module->type != NGX_HTTP_MODULE) {
            continue;
        }

        if (ngx_strcmp(module->name, "ngx_http_proxy_v2_module") == 0) {
            ngx_event_pipe_proxy_v2 = module;
        }

        ctx = module->ctx;

        if (ctx->postconfiguration) {
            ngx_event_pipe_rust_note_filter(module->name);
        }
    }

    return NGX_OK;
}
