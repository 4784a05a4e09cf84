
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

/* as many files of the kind as a worker has at a time, at the most */
#define NGX_EVENT_PIPE_SEGMENTS      4096

/* listening sockets, logs and the like, and files that are open but once */
#define NGX_EVENT_PIPE_FILES         128


static void ngx_event_pipe_segment_free(ngx_event_pipe_segment_t *segment);
static void ngx_event_pipe_segment_cleanup(void *data);


ngx_uint_t         ngx_event_pipe_segments_max;

/* files of the worker's that nginx would not have */
static ngx_uint_t  ngx_event_pipe_segments_open;

/* what the worker might open when that was reckoned with */
static rlim_t      ngx_event_pipe_files_max;


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


/*
 * nginx has at most one temporary file for a response.  So those after the first
 * one must not use up descriptors that nginx would have for connections and
 * files: the worker asks the system for as many more, and where it does not get
 * them, there are such files only if what it may open anyway exceeds what all of
 * its connections can need.
 */

ngx_int_t
ngx_event_pipe_segments_init(ngx_cycle_t *cycle)
{
    rlim_t         more, needed;
    struct rlimit  limit;

    ngx_event_pipe_segments_max = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                      "getrlimit(RLIMIT_NOFILE) failed");
        return NGX_OK;
    }

    needed = 3 * (rlim_t) cycle->connection_n + NGX_EVENT_PIPE_FILES;

    if (limit.rlim_cur == RLIM_INFINITY
        || limit.rlim_cur >= needed + NGX_EVENT_PIPE_SEGMENTS)
    {
        ngx_event_pipe_segments_max = NGX_EVENT_PIPE_SEGMENTS;
        ngx_event_pipe_files_max = limit.rlim_cur;
        return NGX_OK;
    }

    if (limit.rlim_cur > needed) {
        ngx_event_pipe_segments_max = limit.rlim_cur - needed;
    }

    more = NGX_EVENT_PIPE_SEGMENTS - ngx_event_pipe_segments_max;

    if (limit.rlim_max != RLIM_INFINITY) {
        more = ngx_min(more, limit.rlim_max - limit.rlim_cur);
    }

    limit.rlim_cur += more;

    if (more && setrlimit(RLIMIT_NOFILE, &limit) == 0) {
        ngx_event_pipe_segments_max += more;
    }

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        ngx_event_pipe_files_max = limit.rlim_cur;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, cycle->log, 0,
                   "event pipe: segments: %ui", ngx_event_pipe_segments_max);

    return NGX_OK;
}


ngx_uint_t
ngx_event_pipe_glue_may_open(void)
{
    return ngx_event_pipe_segments_open < ngx_event_pipe_segments_max;
}


ngx_int_t
ngx_event_pipe_glue_open_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment)
{
    ngx_pool_t       *pool;
    struct rlimit     limit;
    ngx_temp_file_t  *tf;

    tf = segment->file;

    if (tf != &segment->own || tf->file.fd != NGX_INVALID_FILE) {
        /* nginx opens its own file when it writes to it first */
        return NGX_OK;
    }

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0
        && limit.rlim_cur < ngx_event_pipe_files_max)
    {
        /* somebody has lowered it since then: nothing is left for this */
        ngx_event_pipe_segments_max = 0;
        return NGX_ERROR;
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
    ngx_event_pipe_segments_open++;

    return NGX_OK;
}


void
ngx_event_pipe_glue_close_segment(ngx_event_pipe_state_t *state,
    ngx_event_pipe_segment_t *segment)
{
    ngx_file_t  *file;

    file = &segment->file->file;

    if (segment->pool) {
        ngx_event_pipe_segment_free(segment);

    } else if (file->fd != NGX_INVALID_FILE) {
        ngx_pool_run_cleanup_file(state->pipe->pool, file->fd);
    }

    file->fd = NGX_INVALID_FILE;
}


static void
ngx_event_pipe_segment_free(ngx_event_pipe_segment_t *segment)
{
    ngx_destroy_pool(segment->pool);

    segment->pool = NULL;
    ngx_event_pipe_segments_open--;
}


/* the request ends */

static void
ngx_event_pipe_segment_cleanup(void *data)
{
    ngx_event_pipe_state_t  *state = data;

    ngx_event_pipe_segment_t  *segment;

    for (segment = state->segments; segment; segment = segment->next) {

        if (segment->pool) {
            ngx_event_pipe_segment_free(segment);
        }
    }
}
