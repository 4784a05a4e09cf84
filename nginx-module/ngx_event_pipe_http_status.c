
/*
 * The status page, which shows the totals of the event pipe.
 */


#include "ngx_event_pipe_http.h"


static ngx_int_t ngx_event_pipe_status_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_event_pipe_status_format(ngx_http_request_t *r);
static ngx_uint_t ngx_event_pipe_find_format(ngx_str_t *name);
static ngx_int_t ngx_event_pipe_init_zone(ngx_shm_zone_t *zone, void *data);


/* the library knows a format by its place in this table */

static struct {
    ngx_str_t                        name;
    ngx_str_t                        type;
    /* the length of the type without its parameters */
    size_t                           type_len;
} ngx_event_pipe_formats[] = {

    { ngx_string("json"),
      ngx_string("application/json"), sizeof("application/json") - 1 },

    { ngx_string("prometheus"),
      ngx_string("text/plain; version=0.0.4; charset=utf-8"),
      sizeof("text/plain") - 1 },

    { ngx_null_string, ngx_null_string, 0 }
};


static ngx_int_t
ngx_event_pipe_status_handler(ngx_http_request_t *r)
{
    void                        *totals;
    size_t                       size;
    ngx_int_t                    rc;
    ngx_buf_t                   *b;
    ngx_uint_t                   format;
    ngx_chain_t                  out;
    ngx_slab_pool_t             *shpool;
    ngx_event_pipe_main_conf_t  *pmcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    format = ngx_event_pipe_status_format(r);

    if (format == NGX_CONF_UNSET_UINT) {
        return NGX_HTTP_BAD_REQUEST;
    }

    size = ngx_event_pipe_rust_totals_size();
    totals = ngx_pmemalign(r->pool, size, NGX_EVENT_PIPE_ALIGNMENT);
    b = ngx_create_temp_buf(r->pool, NGX_EVENT_PIPE_RUST_STATUS_LEN);

    if (totals == NULL || b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* copies the totals of all workers at one moment */

    pmcf = ngx_http_get_module_main_conf(r, ngx_event_pipe_http_module);
    shpool = (ngx_slab_pool_t *) pmcf->zone->shm.addr;

    ngx_shmtx_lock(&shpool->mutex);

    ngx_memcpy(totals, pmcf->zone->data, size);

    ngx_shmtx_unlock(&shpool->mutex);

    b->last = ngx_event_pipe_rust_status(totals, format, b->last);
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.content_type = ngx_event_pipe_formats[format].type;
    r->headers_out.content_type_len = ngx_event_pipe_formats[format].type_len;
    r->headers_out.content_type_lowcase = NULL;
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


/* the format that the argument "format" names, or else that of the directive */

static ngx_uint_t
ngx_event_pipe_status_format(ngx_http_request_t *r)
{
    ngx_str_t                   value;
    ngx_event_pipe_loc_conf_t  *plcf;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) == NGX_OK) {
        return ngx_event_pipe_find_format(&value);
    }

    plcf = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);

    return plcf->status;
}


static ngx_uint_t
ngx_event_pipe_find_format(ngx_str_t *name)
{
    ngx_str_t   *known;
    ngx_uint_t   i;

    for (i = 0; ngx_event_pipe_formats[i].name.len; i++) {
        known = &ngx_event_pipe_formats[i].name;

        if (name->len == known->len
            && ngx_strncmp(name->data, known->data, name->len) == 0)
        {
            return i;
        }
    }

    return NGX_CONF_UNSET_UINT;
}


/*
 * The blocks "if" and "limit_except" belong to the location around them, so
 * they inherit the status page.  A location inside another location does not.
 * nginx itself passes the handler on to an "if" block, but not to
 * "limit_except".
 */

void
ngx_event_pipe_merge_status(ngx_conf_t *cf, ngx_event_pipe_loc_conf_t *prev,
    ngx_event_pipe_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->status != NGX_CONF_UNSET_UINT
        || prev->status == NGX_CONF_UNSET_UINT
        || (!clcf->noname && !clcf->lmt_excpt))
    {
        return;
    }

    conf->status = prev->status;

    if (clcf->lmt_excpt && clcf->handler == NULL) {
        clcf->handler = ngx_event_pipe_status_handler;
    }
}


/* the first location with a status page creates the zone of the totals */

char *
ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_event_pipe_loc_conf_t *plcf = conf;

    ngx_str_t                    name, *value;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_event_pipe_main_conf_t  *pmcf;

    if (plcf->status != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    plcf->status = (cf->args->nelts == 1)
                   ? 0 : ngx_event_pipe_find_format(&value[1]);

    if (plcf->status == NGX_CONF_UNSET_UINT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive, "
                           "it must be \"json\" or \"prometheus\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_event_pipe_http_module);

    if (pmcf->zone == NULL) {
        ngx_str_set(&name, "event_pipe_status");

        pmcf->zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize,
                                           &ngx_event_pipe_http_module);
        if (pmcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }

        pmcf->zone->init = ngx_event_pipe_init_zone;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_event_pipe_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_event_pipe_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (data) {
        /* after a reload, the totals of the cycle before go on */
        zone->data = data;

    } else if (zone->shm.exists) {
        zone->data = shpool->data;

    } else {
        zone->data = ngx_slab_calloc(shpool, ngx_event_pipe_rust_totals_size());
        shpool->data = zone->data;
    }

    return zone->data ? NGX_OK : NGX_ERROR;
}
