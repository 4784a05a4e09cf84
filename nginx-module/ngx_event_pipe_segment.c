
/*
 * The temporary files of a response, one after the other.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"


/* the name of a file, and what closes it */
#define NGX_EVENT_PIPE_SEGMENT_POOL  512


static void ngx_event_pipe_segment_cleanup(void *data);


ngx_event_pipe_segment_t *
ngx_event_pipe_glue_segment(ngx_event_pipe_state_t *state)
{
    ngx_event_pipe_t          *p;
    ngx_pool_cleanup_t        *cln;
    ngx_event_pipe_segment_t  *segment;

    p = state->pipe;

    segment = ngx_pcalloc(p->pool, sizeof(ngx_event_pipe_segment_t));
    if (segment == NULL) {
        return NULL;
    }

    if (state->segments == NULL) {
        cln = ngx_pool_cleanup_add(p->pool, 0);
        if (cln == NULL) {
            return NULL;
        }

        cln->handler = ngx_event_pipe_segment_cleanup;
        cln->data = state;

        segment->file = p->temp_file;

        return segment;
    }

    segment->file = &segment->own;

    segment->own.file.fd = NGX_INVALID_FILE;
    segment->own.file.log = p->temp_file->file.log;
    segment->own.path = p->temp_file->path;
    segment->own.pool = p->pool;
    segment->own.access = p->temp_file->access;

    return segment;
}


ngx_int_t
ngx_event_pipe_glue_open_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment)
{
    ngx_pool_t       *pool;
    ngx_temp_file_t  *tf;

    tf = segment->file;

    if (tf != &segment->own || tf->file.fd != NGX_INVALID_FILE) {
        /* nginx opens its own file when it writes to it first */
        return NGX_OK;
    }

    pool = ngx_create_pool(NGX_EVENT_PIPE_SEGMENT_POOL, state->pipe->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    ngx_str_null(&tf->file.name);

    if (ngx_create_temp_file(&tf->file, tf->path, pool, 0, 0, tf->access)
        != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    segment->pool = pool;

    return NGX_OK;
}


void
ngx_event_pipe_glue_close_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment)
{
    ngx_file_t  *file;

    file = &segment->file->file;

    if (segment->pool) {
        ngx_destroy_pool(segment->pool);
        segment->pool = NULL;

    } else if (file->fd != NGX_INVALID_FILE) {
        ngx_pool_run_cleanup_file(state->pipe->pool, file->fd);
    }

    file->fd = NGX_INVALID_FILE;
}


/* the request ends */

static void
ngx_event_pipe_segment_cleanup(void *data)
{
    ngx_event_pipe_state_t  *state = data;

    ngx_event_pipe_segment_t  *segment;

    for (segment = state->segments; segment; segment = segment->next) {

        if (segment->pool) {
            ngx_destroy_pool(segment->pool);
            segment->pool = NULL;
        }
    }
}
