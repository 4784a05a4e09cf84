
/*
 * A filter for tests that gives up at the first of the body, as that of images
 * does with what is no image.  nginx then answers with an error, and clears the
 * contexts of all modules.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static ngx_int_t ngx_http_finalizing_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_finalizing_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_finalizing_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_finalizing_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_finalizing_init,              /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_finalizing_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_finalizing_filter_module_ctx, /* module context */
    NULL,                                  /* module directives */
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


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


static ngx_uint_t
ngx_http_finalizing_applies(ngx_http_request_t *r)
{
    return r->upstream && r == r->main && !r->filter_finalize
           && r->uri.len >= sizeof("/finalized") - 1
           && ngx_strncmp(r->uri.data, "/finalized", sizeof("/finalized") - 1)
              == 0;
}


static ngx_int_t
ngx_http_finalizing_header_filter(ngx_http_request_t *r)
{
    if (ngx_http_finalizing_applies(r)) {
        return NGX_OK;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_finalizing_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    if (in && ngx_http_finalizing_applies(r)) {
        return ngx_http_filter_finalize_request(r,
                                           &ngx_http_finalizing_filter_module,
                                           NGX_HTTP_UNSUPPORTED_MEDIA_TYPE);
    }

    return ngx_http_next_body_filter(r, in);
}


static ngx_int_t
ngx_http_finalizing_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_finalizing_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_finalizing_body_filter;

    return NGX_OK;
}
