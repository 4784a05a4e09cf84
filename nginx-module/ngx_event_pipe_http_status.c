
/*
 * The status page, the zones whose responses are counted together, and the
 * shared memory in which the workers count.
 */


#include "ngx_event_pipe_http.h"


static ngx_int_t ngx_event_pipe_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_event_pipe_send_policy(ngx_http_request_t *r,
    ngx_str_t *policy);
static ngx_uint_t ngx_event_pipe_status_format(ngx_http_request_t *r);
static ngx_int_t ngx_event_pipe_init_board(ngx_shm_zone_t *zone, void *data);


static ngx_int_t
ngx_event_pipe_status_handler(ngx_http_request_t *r)
{
    void                       *board;
    ngx_int_t                   rc;
    ngx_buf_t                  *b;
    ngx_chain_t                 out;
    ngx_event_pipe_page_t       page;
    ngx_http_variable_value_t  *vv;

    static ngx_str_t  name = ngx_string("http_accept");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    page.format = ngx_event_pipe_status_format(r);

    if (page.format == NGX_CONF_UNSET_UINT) {
        return NGX_HTTP_BAD_REQUEST;
    }

    vv = ngx_http_get_variable(r, &name, ngx_hash_key(name.data, name.len));
    b = ngx_calloc_buf(r->pool);

    if (vv == NULL || b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    page.text.len = vv->not_found ? 0 : vv->len;
    page.text.data = vv->data;

    board = ngx_event_pipe_board(r);
    ngx_event_pipe_rust_choose(board, page.format, &page.text, &page);

    b->start = ngx_pmemalign(r->pool, page.memory, NGX_EVENT_PIPE_ALIGNMENT);

    if (b->start == NULL
        || ngx_event_pipe_send_policy(r, &page.policy) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_event_pipe_rust_status(board, b->start, &page);

    b->pos = page.text.data;
    b->last = b->pos + page.text.len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.content_type = page.type;
    r->headers_out.content_type_len = page.type_len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = page.text.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_event_pipe_send_policy(ngx_http_request_t *r, ngx_str_t *policy)
{
    ngx_table_elt_t  *h;

    if (policy->len == 0) {
        return NGX_OK;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Content-Security-Policy");
    h->value = *policy;

    return NGX_OK;
}


/* the format that the argument "format" names, or else that of the directive */

static ngx_uint_t
ngx_event_pipe_status_format(ngx_http_request_t *r)
{
    ngx_str_t                   value;
    ngx_event_pipe_loc_conf_t  *plcf;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) == NGX_OK) {
        return ngx_event_pipe_rust_find_format(&value);
    }

    plcf = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);

    return plcf->status;
}


/* the board on which the workers count; NULL if no location shows it */

void *
ngx_event_pipe_board(ngx_http_request_t *r)
{
    ngx_event_pipe_main_conf_t  *pmcf;

    pmcf = ngx_http_get_module_main_conf(r, ngx_event_pipe_http_module);

    return pmcf->zone ? pmcf->zone->data : NULL;
}


/* the number of the zone in which a request's responses are counted */

ngx_uint_t
ngx_event_pipe_find_zone(ngx_http_request_t *r)
{
    void                        *board;
    ngx_str_t                    name;
    ngx_uint_t                   zone, is_first;
    ngx_slab_pool_t             *shpool;
    ngx_event_pipe_loc_conf_t   *plcf;
    ngx_event_pipe_main_conf_t  *pmcf;

    board = ngx_event_pipe_board(r);
    plcf = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);

    if (board == NULL || plcf->name == NULL
        || ngx_http_complex_value(r, plcf->name, &name) != NGX_OK)
    {
        return 0;
    }

    zone = ngx_event_pipe_rust_find_zone(board, &name);

    if (zone != NGX_CONF_UNSET_UINT) {
        return zone;
    }

    pmcf = ngx_http_get_module_main_conf(r, ngx_event_pipe_http_module);
    shpool = (ngx_slab_pool_t *) pmcf->zone->shm.addr;
    is_first = 0;

    ngx_shmtx_lock(&shpool->mutex);

    zone = ngx_event_pipe_rust_add_zone(board, &name, pmcf->zones, &is_first);

    ngx_shmtx_unlock(&shpool->mutex);

    if (is_first) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "event pipe: there are %i zones already, so \"%V\" and "
                      "other new ones are counted as \"(overflow)\"",
                      pmcf->zones, &name);
    }

    return zone;
}


char *
ngx_event_pipe_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_event_pipe_loc_conf_t *plcf = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_event_pipe_name_t             *name;
    ngx_event_pipe_main_conf_t        *pmcf;
    ngx_http_compile_complex_value_t   ccv;

    if (plcf->name != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        plcf->name = NULL;
        return NGX_CONF_OK;
    }

    plcf->name = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (plcf->name == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = plcf->name;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (plcf->name->lengths) {
        /* the names are not known before there are requests */
        return NGX_CONF_OK;
    }

    if (!ngx_event_pipe_rust_is_zone(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone name \"%V\": a name has 1 to 63 "
                           "letters, digits, and signs other than quotes, "
                           "backslashes and parentheses", &value[1]);
        return NGX_CONF_ERROR;
    }

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_event_pipe_http_module);
    name = pmcf->names.elts;

    for (i = 0; i < pmcf->names.nelts; i++) {
        if (name[i].name.len == value[1].len
            && ngx_strcmp(name[i].name.data, value[1].data) == 0)
        {
            return NGX_CONF_OK;
        }
    }

    if (i > NGX_EVENT_PIPE_ZONES) {
        /* one of them is too many already */
        return NGX_CONF_OK;
    }

    name = ngx_array_push(&pmcf->names);
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    name->name = value[1];
    name->file = cf->conf_file->file.name.data;
    name->line = cf->conf_file->line;

    return NGX_CONF_OK;
}


/* whether the zones that are named are no more than there may be */

char *
ngx_event_pipe_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_event_pipe_main_conf_t *pmcf = conf;

    ngx_event_pipe_name_t  *name;

    ngx_conf_init_value(pmcf->zones, 64);

    if (pmcf->names.nelts > (ngx_uint_t) pmcf->zones) {
        name = (ngx_event_pipe_name_t *) pmcf->names.elts + pmcf->zones;

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the zone \"%V\" is one more than the %i that "
                      "\"event_pipe_zones\" allows in %s:%ui",
                      &name->name, pmcf->zones, name->file, name->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
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


/* the first location with a status page creates the memory of the board */

char *
ngx_event_pipe_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_event_pipe_loc_conf_t *plcf = conf;

    size_t                       size;
    ngx_str_t                    name, *value;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_event_pipe_main_conf_t  *pmcf;

    if (plcf->status != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    plcf->status = (cf->args->nelts == 1)
                   ? 0 : ngx_event_pipe_rust_find_format(&value[1]);

    if (plcf->status == NGX_CONF_UNSET_UINT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive, "
                           "it must be \"json\", \"prometheus\", "
                           "\"openmetrics\" or \"html\"",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_event_pipe_http_module);

    if (pmcf->zone == NULL) {
        ngx_str_set(&name, "event_pipe_status");

        /* pages take space of their own to be managed */
        size = ngx_event_pipe_rust_board_size(ngx_ncpu);
        size += size / 64 + 8 * ngx_pagesize;

        pmcf->zone = ngx_shared_memory_add(cf, &name, size,
                                           &ngx_event_pipe_http_module);
        if (pmcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }

        pmcf->zone->init = ngx_event_pipe_init_board;
        pmcf->zone->data = pmcf;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_event_pipe_status_handler;

    return NGX_CONF_OK;
}


/*
 * After a reload, the board of the cycle before goes on.  The zones that the
 * configuration names have their places before those of requests.
 */

static ngx_int_t
ngx_event_pipe_init_board(ngx_shm_zone_t *zone, void *data)
{
    size_t                       size;
    ngx_uint_t                   i, is_first;
    ngx_slab_pool_t             *shpool;
    ngx_event_pipe_name_t       *name;
    ngx_event_pipe_main_conf_t  *pmcf;

    pmcf = zone->data;
    shpool = (ngx_slab_pool_t *) zone->shm.addr;
    zone->data = data ? data : shpool->data;

    if (zone->data == NULL) {
        size = ngx_event_pipe_rust_board_size(ngx_ncpu);

        /* new memory is zero, and takes no space before it is written to */

        zone->data = ngx_slab_alloc(shpool, size);
        if (zone->data == NULL) {
            return NGX_ERROR;
        }

#if (NGX_DEBUG_MALLOC)
        ngx_memzero(zone->data, size);
#endif

        ngx_event_pipe_rust_create_board(zone->data, size);
        shpool->data = zone->data;
    }

    name = pmcf->names.elts;

    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < pmcf->names.nelts; i++) {
        (void) ngx_event_pipe_rust_add_zone(zone->data, &name[i].name,
                                            NGX_EVENT_PIPE_ZONES, &is_first);
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return NGX_OK;
}
