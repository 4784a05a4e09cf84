
/*
 * Whether a temporary file may be closed before its request ends.
 *
 * nginx keeps the one file of a response open until then, so a filter may refer
 * to it for as long.  A file that is closed earlier must be one that nobody
 * refers to: only what is known below to be so is closed, all else stays open.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_event_pipe_http.h"


static ngx_uint_t ngx_event_pipe_is_known(char *name);


extern ngx_module_t  ngx_http_copy_filter_module;


/*
 * nginx's own modules, "ngx_http_" and "_module" left out.  Behind the copy
 * filter, those that filter bodies either pass a buffer of a file on as it is,
 * so that the pipe sees when it is sent, or have asked for the data in memory.
 * Before it, "range_body" and "slice" pass buffers on as they are.
 */

static char  *ngx_event_pipe_known_modules[] = {
    "access", "addition_filter", "auth_basic", "auth_request", "autoindex",
    "browser", "charset_filter", "chunked_filter", "copy_filter", "core", "dav",
    "degradation", "empty_gif", "fastcgi", "flv", "geo", "geoip", "grpc",
    "gunzip_filter", "gzip_filter", "gzip_static", "header_filter",
    "headers_filter", "image_filter", "index", "limit_conn", "limit_req", "log",
    "map", "memcached", "mirror", "mp4", "not_modified_filter", "perl",
    "postpone_filter", "proxy", "proxy_v2", "random_index",
    "range_body_filter", "range_header_filter", "realip", "referer", "rewrite",
    "scgi", "secure_link", "slice_filter", "split_clients", "ssi_filter", "ssl",
    "static", "stub_status", "sub_filter", "try_files", "tunnel", "upstream",
    "upstream_hash", "upstream_ip_hash", "upstream_keepalive",
    "upstream_least_conn", "upstream_least_time", "upstream_random",
    "upstream_sticky", "upstream_zone", "userid_filter", "uwsgi", "v2",
    "v2_filter", "v3", "v3_filter", "write_filter", "xslt_filter",
    NULL
};


/* what a filter of somebody else's does with a file is not known */

static ngx_str_t  ngx_event_pipe_unknown_module;


ngx_int_t
ngx_event_pipe_http_find_unknown(ngx_cycle_t *cycle)
{
    ngx_uint_t          i;
    ngx_http_module_t  *module;

    ngx_str_null(&ngx_event_pipe_unknown_module);

    for (i = 0; cycle->modules[i]; i++) {

        if (cycle->modules[i]->type != NGX_HTTP_MODULE) {
            continue;
        }

        module = cycle->modules[i]->ctx;

        if (module->postconfiguration == NULL
            || ngx_event_pipe_is_known(cycle->modules[i]->name))
        {
            /* a filter is put in its place after the configuration is read */
            continue;
        }

        ngx_event_pipe_unknown_module.data = (u_char *) cycle->modules[i]->name;
        ngx_event_pipe_unknown_module.len = ngx_strlen(cycle->modules[i]->name);
        break;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_event_pipe_is_known(char *name)
{
    char    **known;
    size_t    len;

    if (ngx_strncmp(name, "ngx_event_pipe_", sizeof("ngx_event_pipe_") - 1)
        == 0)
    {
        return 1;
    }

    if (ngx_strncmp(name, "ngx_http_", sizeof("ngx_http_") - 1) != 0) {
        return 0;
    }

    name += sizeof("ngx_http_") - 1;

    for (known = ngx_event_pipe_known_modules; *known; known++) {
        len = ngx_strlen(*known);

        if (ngx_strncmp(name, *known, len) == 0
            && ngx_strcmp(name + len, "_module") == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * The copy filter decides once, with its first output for the request, how it
 * hands on what is in a file.  With sendfile and a filter that wants to see the
 * data, it reads the data, takes the file's part for done, and has sendfile()
 * send from the file all the same: then the file must stay.  TLS sends from
 * memory, unless the kernel does it.
 */

ngx_int_t
ngx_event_pipe_glue_may_close(ngx_event_pipe_t *p)
{
    ngx_http_request_t         *r;
    ngx_output_chain_ctx_t     *ctx;
    ngx_event_pipe_settings_t  *settings;

    r = p->output_ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_copy_filter_module);

    if (ctx == NULL) {
        /* nothing has been decided yet, or a filter has reset the request */
        return 0;
    }

    settings = ngx_http_get_module_loc_conf(r, ngx_event_pipe_http_module);

    if (ngx_event_pipe_unknown_module.len
        && settings->spill_segments != NGX_EVENT_PIPE_SEGMENTS_ON)
    {
        return 0;
    }

    if (!ctx->sendfile || !ctx->need_in_memory) {
        return 1;
    }

#if (NGX_SSL)

    if (p->downstream->ssl && !p->downstream->ssl->sendfile) {
        return 1;
    }

#endif

    return 0;
}
