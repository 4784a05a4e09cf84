
/*
 * What the event pipe has counted: of a request, as variables, and of all of
 * them, as a page.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_event_pipe_counts.h"
#include "ngx_event_pipe_http.h"


#define NGX_EVENT_PIPE_STATUS_SIZE  16384


typedef enum {
    NGX_EVENT_PIPE_STATUS_JSON = 0,
    NGX_EVENT_PIPE_STATUS_PROMETHEUS
} ngx_event_pipe_status_format_e;


typedef struct {
    ngx_shm_zone_t                  *zone;
} ngx_event_pipe_status_main_conf_t;


typedef struct {
    ngx_uint_t                       format;
} ngx_event_pipe_status_loc_conf_t;


typedef enum {
    NGX_EVENT_PIPE_SPILLED = 0,
    NGX_EVENT_PIPE_PEAK,
    NGX_EVENT_PIPE_BUFFERS,
    NGX_EVENT_PIPE_BUFFERS_MAX,
    NGX_EVENT_PIPE_BLOCKED_COUNT,
    NGX_EVENT_PIPE_BLOCKED_TIME,
    NGX_EVENT_PIPE_CLIENT_TIME,
    NGX_EVENT_PIPE_READS,
    NGX_EVENT_PIPE_WRITES,
    NGX_EVENT_PIPE_END
} ngx_event_pipe_variable_e;


/* one of the totals: milliseconds are shown as seconds */

typedef struct {
    char                            *name;
    char                            *help;
    size_t                           offset;
    ngx_uint_t                       msec;
} ngx_event_pipe_total_t;


/* where the page is written to */

typedef struct {
    u_char                          *last;
    u_char                          *end;
} ngx_event_pipe_text_t;


static ngx_event_pipe_state_t *ngx_event_pipe_find_state(
    ngx_http_request_t *r);
static ngx_int_t ngx_event_pipe_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_event_pipe_status_add_variables(ngx_conf_t *cf);

static void ngx_event_pipe_status_get_totals(ngx_http_request_t *r,
    ngx_event_pipe_totals_t *totals);
static ngx_int_t ngx_event_pipe_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_event_pipe_status_get_format(ngx_http_request_t *r,
    ngx_uint_t *format);
static ngx_int_t ngx_event_pipe_status_find_format(ngx_str_t *name,
    ngx_uint_t *format);
static void ngx_event_pipe_status_json(ngx_event_pipe_text_t *text,
    ngx_event_pipe_totals_t *totals);
static void ngx_event_pipe_status_prometheus(ngx_event_pipe_text_t *text,
    ngx_event_pipe_totals_t *totals);

static void *ngx_event_pipe_status_create_main_conf(ngx_conf_t *cf);
static void *ngx_event_pipe_status_create_loc_conf(ngx_conf_t *cf);
static char *ngx_event_pipe_status_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_event_pipe_status_init_zone(ngx_shm_zone_t *zone,
    void *data);


static ngx_str_t  ngx_event_pipe_status_formats[] = {
    ngx_string("json"),
    ngx_string("prometheus"),
    ngx_null_string
};


static ngx_command_t  ngx_event_pipe_status_commands[] = {

    { ngx_string("event_pipe_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_event_pipe_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_event_pipe_status_module_ctx = {
    ngx_event_pipe_status_add_variables,    /* preconfiguration */
    NULL,                                   /* postconfiguration */

    ngx_event_pipe_status_create_main_conf, /* create main configuration */
    NULL,                                   /* init main configuration */

    NULL,                                   /* create server configuration */
    NULL,                                   /* merge server configuration */

    ngx_event_pipe_status_create_loc_conf,  /* create location configuration */
    ngx_event_pipe_status_merge_loc_conf    /* merge location configuration */
};


ngx_module_t  ngx_event_pipe_status_module = {
    NGX_MODULE_V1,
    &ngx_event_pipe_status_module_ctx,     /* module context */
    ngx_event_pipe_status_commands,        /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


#define ngx_event_pipe_variable_entry(name, data)                             \
    { ngx_string("event_pipe_" name), NULL, ngx_event_pipe_variable,          \
      data, NGX_HTTP_VAR_NOCACHEABLE, 0 }

static ngx_http_variable_t  ngx_event_pipe_variables[] = {

    ngx_event_pipe_variable_entry("spilled", NGX_EVENT_PIPE_SPILLED),
    ngx_event_pipe_variable_entry("peak", NGX_EVENT_PIPE_PEAK),
    ngx_event_pipe_variable_entry("buffers", NGX_EVENT_PIPE_BUFFERS),
    ngx_event_pipe_variable_entry("buffers_max", NGX_EVENT_PIPE_BUFFERS_MAX),
    ngx_event_pipe_variable_entry("blocked_count",
                                  NGX_EVENT_PIPE_BLOCKED_COUNT),
    ngx_event_pipe_variable_entry("blocked_time", NGX_EVENT_PIPE_BLOCKED_TIME),
    ngx_event_pipe_variable_entry("client_time", NGX_EVENT_PIPE_CLIENT_TIME),
    ngx_event_pipe_variable_entry("reads", NGX_EVENT_PIPE_READS),
    ngx_event_pipe_variable_entry("writes", NGX_EVENT_PIPE_WRITES),
    ngx_event_pipe_variable_entry("end", NGX_EVENT_PIPE_END),

      ngx_http_null_variable
};


#define ngx_event_pipe_total_entry(name, field, msec, help)                   \
    { name, help, offsetof(ngx_event_pipe_totals_t, field), msec }

static ngx_event_pipe_total_t  ngx_event_pipe_totals[] = {

    ngx_event_pipe_total_entry("responses", responses, 0,
        "Responses through the event pipe."),
    ngx_event_pipe_total_entry("received_bytes", received, 0,
        "Bytes received from upstreams."),
    ngx_event_pipe_total_entry("passed_bytes", passed, 0,
        "Bytes passed on to clients."),
    ngx_event_pipe_total_entry("spilled_responses", spilled_responses, 0,
        "Responses written to temporary files, in part or as a whole."),
    ngx_event_pipe_total_entry("spilled_bytes", spilled, 0,
        "Bytes written to temporary files."),
    ngx_event_pipe_total_entry("blocked_responses", blocked_responses, 0,
        "Responses whose upstream was held back."),
    ngx_event_pipe_total_entry("blocked_count", blocked_count, 0,
        "Times that upstreams were held back."),
    ngx_event_pipe_total_entry("blocked_seconds", blocked_time, 1,
        "Time that upstreams were held back."),
    ngx_event_pipe_total_entry("client_seconds", client_time, 1,
        "Time that clients were waited for."),
    ngx_event_pipe_total_entry("reads", reads, 0,
        "Reads from upstreams."),
    ngx_event_pipe_total_entry("writes", writes, 0,
        "Calls of the output filter."),
    ngx_event_pipe_total_entry("loans", loans, 0,
        "Buffers of workers received into."),
    ngx_event_pipe_total_entry("lent_bytes", lent, 0,
        "Bytes received into buffers of workers."),

    { NULL, NULL, 0, 0 }
};


/*
 * An internal redirect, as that of post_action, resets the context of the
 * module; the state can still be found by its cleanup handler.
 */

static ngx_event_pipe_state_t *
ngx_event_pipe_find_state(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_event_pipe_state_t  *state;

    state = ngx_http_get_module_ctx(r, ngx_event_pipe_http_module);

    if (state) {
        return state->pipe ? state : NULL;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_event_pipe_http_count) {
            continue;
        }

        state = cln->data;

        if (state->pipe->output_ctx == r) {
            return state;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_event_pipe_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                   *p;
    off_t                     value;
    ngx_str_t                *name;
    ngx_msec_t                ms;
    ngx_event_pipe_state_t   *state;
    ngx_event_pipe_counts_t  *counts;

    state = ngx_event_pipe_find_state(r);

    if (state == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    counts = &state->counts;
    value = 0;

    switch (data) {

    case NGX_EVENT_PIPE_SPILLED:
        value = counts->spilled;
        break;

    case NGX_EVENT_PIPE_PEAK:
        value = counts->peak;
        break;

    case NGX_EVENT_PIPE_BUFFERS:
        value = state->pipe->allocated;
        break;

    case NGX_EVENT_PIPE_BUFFERS_MAX:
        value = state->pipe->bufs.num;
        break;

    case NGX_EVENT_PIPE_BLOCKED_COUNT:
        value = counts->blocked_count;
        break;

    case NGX_EVENT_PIPE_READS:
        value = counts->reads;
        break;

    case NGX_EVENT_PIPE_WRITES:
        value = counts->writes;
        break;

    case NGX_EVENT_PIPE_END:
        name = &ngx_event_pipe_end_names[ngx_event_pipe_end(state)];

        v->len = name->len;
        v->data = name->data;

        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN + sizeof(".000"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;

    if (data == NGX_EVENT_PIPE_BLOCKED_TIME
        || data == NGX_EVENT_PIPE_CLIENT_TIME)
    {
        ngx_event_pipe_glue_pass_time(counts);

        ms = (data == NGX_EVENT_PIPE_BLOCKED_TIME) ? counts->blocked_time
                                                   : counts->client_time;

        p = ngx_sprintf(p, "%T.%03M", (time_t) ms / 1000, ms % 1000);

    } else {
        p = ngx_sprintf(p, "%O", value);
    }

    v->len = p - v->data;

    return NGX_OK;
}


static ngx_int_t
ngx_event_pipe_status_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_event_pipe_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/*
 * The pool of the main request goes, and all of its responses are over.  For
 * how long the client was waited for after a subrequest's, nobody has seen.
 */

void
ngx_event_pipe_http_count(void *data)
{
    ngx_event_pipe_state_t *state = data;

    ngx_slab_pool_t                    *shpool;
    ngx_http_request_t                 *r;
    ngx_event_pipe_status_main_conf_t  *smcf;

    if (state->watch.timer_set) {
        ngx_del_timer(&state->watch);
    }

    r = state->pipe->output_ctx;

    smcf = ngx_http_get_module_main_conf(r, ngx_event_pipe_status_module);

    if (smcf->zone == NULL) {
        return;
    }

    if (r == r->main) {
        ngx_event_pipe_glue_pass_time(&state->counts);
    }

    shpool = (ngx_slab_pool_t *) smcf->zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    ngx_event_pipe_add_to_totals(smcf->zone->data, state);

    ngx_shmtx_unlock(&shpool->mutex);
}


/* what all workers have counted until one moment */

static void
ngx_event_pipe_status_get_totals(ngx_http_request_t *r,
    ngx_event_pipe_totals_t *totals)
{
    ngx_slab_pool_t                    *shpool;
    ngx_event_pipe_status_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_event_pipe_status_module);

    shpool = (ngx_slab_pool_t *) smcf->zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    *totals = *(ngx_event_pipe_totals_t *) smcf->zone->data;

    ngx_shmtx_unlock(&shpool->mutex);
}


static ngx_int_t
ngx_event_pipe_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_buf_t                *b;
    ngx_uint_t                format;
    ngx_chain_t               out;
    ngx_event_pipe_text_t     text;
    ngx_event_pipe_totals_t   totals;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_event_pipe_status_get_format(r, &format) != NGX_OK) {
        return NGX_HTTP_BAD_REQUEST;
    }

    b = ngx_create_temp_buf(r->pool, NGX_EVENT_PIPE_STATUS_SIZE);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_event_pipe_status_get_totals(r, &totals);

    text.last = b->last;
    text.end = b->end;

    if (format == NGX_EVENT_PIPE_STATUS_PROMETHEUS) {
        ngx_str_set(&r->headers_out.content_type,
                    "text/plain; version=0.0.4; charset=utf-8");
        r->headers_out.content_type_len = sizeof("text/plain") - 1;

        ngx_event_pipe_status_prometheus(&text, &totals);

    } else {
        ngx_str_set(&r->headers_out.content_type, "application/json");
        r->headers_out.content_type_len = r->headers_out.content_type.len;

        ngx_event_pipe_status_json(&text, &totals);
    }

    r->headers_out.content_type_lowcase = NULL;

    b->last = text.last;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* the argument "format", or else what the directive says */

static ngx_int_t
ngx_event_pipe_status_get_format(ngx_http_request_t *r, ngx_uint_t *format)
{
    ngx_str_t                          value;
    ngx_event_pipe_status_loc_conf_t  *slcf;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) != NGX_OK) {
        slcf = ngx_http_get_module_loc_conf(r, ngx_event_pipe_status_module);
        *format = slcf->format;

        return NGX_OK;
    }

    return ngx_event_pipe_status_find_format(&value, format);
}


static ngx_int_t
ngx_event_pipe_status_find_format(ngx_str_t *name, ngx_uint_t *format)
{
    ngx_uint_t  i;

    for (i = 0; ngx_event_pipe_status_formats[i].len; i++) {

        if (name->len == ngx_event_pipe_status_formats[i].len
            && ngx_strncmp(name->data, ngx_event_pipe_status_formats[i].data,
                           name->len)
               == 0)
        {
            *format = i;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static void ngx_cdecl
ngx_event_pipe_print(ngx_event_pipe_text_t *text, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    text->last = ngx_vslprintf(text->last, text->end, fmt, args);
    va_end(args);
}


static void
ngx_event_pipe_print_thousandths(ngx_event_pipe_text_t *text, uint64_t n)
{
    ngx_event_pipe_print(text, "%uL.%03uL", n / 1000, n % 1000);
}


static void
ngx_event_pipe_print_total(ngx_event_pipe_text_t *text,
    ngx_event_pipe_totals_t *totals, ngx_event_pipe_total_t *total)
{
    uint64_t  n;

    n = *(uint64_t *) ((u_char *) totals + total->offset);

    if (total->msec) {
        ngx_event_pipe_print_thousandths(text, n);

    } else {
        ngx_event_pipe_print(text, "%uL", n);
    }
}


/* the upper limits of the buckets */

static void
ngx_event_pipe_print_peak(ngx_event_pipe_text_t *text, ngx_uint_t i)
{
    off_t  limit;

    limit = (i == 0) ? 0 : (off_t) NGX_EVENT_PIPE_PEAK_MIN << (i - 1);

    ngx_event_pipe_print(text, "%O", limit);
}


static void
ngx_event_pipe_print_share(ngx_event_pipe_text_t *text, ngx_uint_t i)
{
    ngx_event_pipe_print_thousandths(text,
                                     i * 1000 / (NGX_EVENT_PIPE_SHARES - 1));
}


static void
ngx_event_pipe_status_json(ngx_event_pipe_text_t *text,
    ngx_event_pipe_totals_t *totals)
{
    ngx_uint_t               i;
    ngx_event_pipe_total_t  *total;

    ngx_event_pipe_print(text, "{\n");

    for (total = ngx_event_pipe_totals; total->name; total++) {
        ngx_event_pipe_print(text, "  \"%s\": ", total->name);
        ngx_event_pipe_print_total(text, totals, total);
        ngx_event_pipe_print(text, ",\n");
    }

    ngx_event_pipe_print(text, "  \"peak_bytes\": {\n    \"sum\": %uL,\n"
                         "    \"responses\": {", totals->peak);

    for (i = 0; i < NGX_EVENT_PIPE_PEAKS - 1; i++) {
        ngx_event_pipe_print(text, "\"");
        ngx_event_pipe_print_peak(text, i);
        ngx_event_pipe_print(text, "\": %uL, ", totals->peaks[i]);
    }

    ngx_event_pipe_print(text, "\"more\": %uL}\n  },\n"
                         "  \"buffers_used\": {\n    \"sum\": ",
                         totals->peaks[i]);
    ngx_event_pipe_print_thousandths(text, totals->share);
    ngx_event_pipe_print(text, ",\n    \"responses\": {");

    for (i = 0; i < NGX_EVENT_PIPE_SHARES; i++) {
        ngx_event_pipe_print(text, i ? ", \"" : "\"");
        ngx_event_pipe_print_share(text, i);
        ngx_event_pipe_print(text, "\": %uL", totals->shares[i]);
    }

    ngx_event_pipe_print(text, "}\n  },\n  \"ends\": {");

    for (i = 0; i < NGX_EVENT_PIPE_ENDS; i++) {
        ngx_event_pipe_print(text, "%s\"%V\": %uL", i ? ", " : "",
                             &ngx_event_pipe_end_names[i], totals->ends[i]);
    }

    ngx_event_pipe_print(text, "}\n}\n");
}


static void
ngx_event_pipe_print_metric(ngx_event_pipe_text_t *text, const char *name,
    const char *suffix, const char *help, const char *type)
{
    ngx_event_pipe_print(text, "# HELP nginx_event_pipe_%s%s %s\n"
                         "# TYPE nginx_event_pipe_%s%s %s\n",
                         name, suffix, help, name, suffix, type);
}


static void
ngx_event_pipe_status_prometheus(ngx_event_pipe_text_t *text,
    ngx_event_pipe_totals_t *totals)
{
    uint64_t                 n;
    ngx_uint_t               i;
    ngx_event_pipe_total_t  *total;

    for (total = ngx_event_pipe_totals; total->name; total++) {
        ngx_event_pipe_print_metric(text, total->name, "_total", total->help,
                                    "counter");
        ngx_event_pipe_print(text, "nginx_event_pipe_%s_total ", total->name);
        ngx_event_pipe_print_total(text, totals, total);
        ngx_event_pipe_print(text, "\n");
    }

    ngx_event_pipe_print_metric(text, "peak_bytes", "",
        "Most bytes of a response that have waited for the client.",
        "histogram");

    for (i = 0, n = 0; i < NGX_EVENT_PIPE_PEAKS - 1; i++) {
        n += totals->peaks[i];
        ngx_event_pipe_print(text, "nginx_event_pipe_peak_bytes_bucket{le=\"");
        ngx_event_pipe_print_peak(text, i);
        ngx_event_pipe_print(text, "\"} %uL\n", n);
    }

    n += totals->peaks[i];
    ngx_event_pipe_print(text,
                         "nginx_event_pipe_peak_bytes_bucket{le=\"+Inf\"} %uL\n"
                         "nginx_event_pipe_peak_bytes_sum %uL\n"
                         "nginx_event_pipe_peak_bytes_count %uL\n",
                         n, totals->peak, n);

    ngx_event_pipe_print_metric(text, "buffers_used", "",
        "Buffers of a response in use, as a share of those configured.",
        "histogram");

    for (i = 0, n = 0; i < NGX_EVENT_PIPE_SHARES; i++) {
        n += totals->shares[i];
        ngx_event_pipe_print(text,
                             "nginx_event_pipe_buffers_used_bucket{le=\"");
        ngx_event_pipe_print_share(text, i);
        ngx_event_pipe_print(text, "\"} %uL\n", n);
    }

    ngx_event_pipe_print(text,
                       "nginx_event_pipe_buffers_used_bucket{le=\"+Inf\"} %uL\n"
                       "nginx_event_pipe_buffers_used_sum ", n);
    ngx_event_pipe_print_thousandths(text, totals->share);
    ngx_event_pipe_print(text, "\nnginx_event_pipe_buffers_used_count %uL\n",
                         n);

    ngx_event_pipe_print_metric(text, "ends", "_total",
        "Responses by how they ended.", "counter");

    for (i = 0; i < NGX_EVENT_PIPE_ENDS; i++) {
        ngx_event_pipe_print(text,
                             "nginx_event_pipe_ends_total{reason=\"%V\"} %uL\n",
                             &ngx_event_pipe_end_names[i], totals->ends[i]);
    }
}


static void *
ngx_event_pipe_status_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_event_pipe_status_main_conf_t));
}


static void *
ngx_event_pipe_status_create_loc_conf(ngx_conf_t *cf)
{
    ngx_event_pipe_status_loc_conf_t  *conf;

    conf = ngx_palloc(cf->pool, sizeof(ngx_event_pipe_status_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->format = NGX_CONF_UNSET_UINT;

    return conf;
}


/*
 * The blocks "if" and "limit_except" are a part of the location that they are
 * in; a location within another one has to say itself that it is a status.  Of
 * the two, nginx sees to the handler in the former.
 */

static char *
ngx_event_pipe_status_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_event_pipe_status_loc_conf_t *prev = parent;
    ngx_event_pipe_status_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->format != NGX_CONF_UNSET_UINT
        || prev->format == NGX_CONF_UNSET_UINT
        || (!clcf->noname && !clcf->lmt_excpt))
    {
        return NGX_CONF_OK;
    }

    conf->format = prev->format;

    if (clcf->lmt_excpt && clcf->handler == NULL) {
        clcf->handler = ngx_event_pipe_status_handler;
    }

    return NGX_CONF_OK;
}


/* the first location with a status makes the workers count together */

static char *
ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_event_pipe_status_loc_conf_t *slcf = conf;

    ngx_str_t                           name, *value;
    ngx_http_core_loc_conf_t           *clcf;
    ngx_event_pipe_status_main_conf_t  *smcf;

    if (slcf->format != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    slcf->format = NGX_EVENT_PIPE_STATUS_JSON;

    if (cf->args->nelts == 2) {
        value = cf->args->elts;

        if (ngx_event_pipe_status_find_format(&value[1], &slcf->format)
            != NGX_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"%V\" directive, "
                               "it must be \"json\" or \"prometheus\"",
                               &value[1], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_event_pipe_status_module);

    if (smcf->zone == NULL) {
        ngx_str_set(&name, "event_pipe_status");

        smcf->zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize,
                                           &ngx_event_pipe_status_module);
        if (smcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }

        smcf->zone->init = ngx_event_pipe_status_init_zone;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_event_pipe_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_event_pipe_status_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    if (data) {
        /* a reload */
        zone->data = data;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (zone->shm.exists) {
        zone->data = shpool->data;
        return NGX_OK;
    }

    zone->data = ngx_slab_calloc(shpool, sizeof(ngx_event_pipe_totals_t));
    if (zone->data == NULL) {
        return NGX_ERROR;
    }

    shpool->data = zone->data;

    return NGX_OK;
}
