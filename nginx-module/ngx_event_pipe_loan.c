
/*
 * Buffers that a worker lends to its pipes.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"


#ifndef NGX_EVENT_PIPE_LOAN
#define NGX_EVENT_PIPE_LOAN  (256 * 1024)
#endif


/*
 * While nobody has a loan, nobody is to look into it: a build for debugging
 * spoils what is in it, and under the address sanitizer any look is reported.
 */

#if (NGX_DEBUG)
#define ngx_event_pipe_spoil(loan)                                            \
    ngx_memset((loan)->raw.start, 0xa5, (loan)->size)
#else
#define ngx_event_pipe_spoil(loan)
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NGX_EVENT_PIPE_ASAN  1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NGX_EVENT_PIPE_ASAN  1
#endif

#if (NGX_EVENT_PIPE_ASAN)

#include <sanitizer/asan_interface.h>

#define ngx_event_pipe_lock(loan)                                             \
    ASAN_POISON_MEMORY_REGION((loan)->raw.start, (loan)->size)
#define ngx_event_pipe_unlock(loan)                                           \
    ASAN_UNPOISON_MEMORY_REGION((u_char *) (loan)                             \
                                + sizeof(ngx_event_pipe_loan_t), (loan)->size)

#else

#define ngx_event_pipe_lock(loan)
#define ngx_event_pipe_unlock(loan)

#endif


static void ngx_event_pipe_loan_cleanup(void *data);


static ngx_event_pipe_loan_t  *ngx_event_pipe_loans;
static size_t                  ngx_event_pipe_loans_size;


ngx_event_pipe_loan_t *
ngx_event_pipe_glue_borrow(ngx_event_pipe_state_t *state)
{
    ngx_pool_cleanup_t     *cln;
    ngx_event_pipe_loan_t  *loan;

    if (!state->returns) {
        cln = ngx_pool_cleanup_add(state->pipe->pool, 0);
        if (cln == NULL) {
            return NULL;
        }

        cln->handler = ngx_event_pipe_loan_cleanup;
        cln->data = state;

        state->returns = 1;
    }

    loan = ngx_event_pipe_loans;

    if (loan) {
        ngx_event_pipe_loans = loan->next;
        ngx_event_pipe_unlock(loan);

    } else {

        if (ngx_event_pipe_loans_size + NGX_EVENT_PIPE_LOAN
            > state->settings->lend)
        {
            return NULL;
        }

        loan = ngx_alloc(sizeof(ngx_event_pipe_loan_t) + NGX_EVENT_PIPE_LOAN,
                         state->pipe->log);
        if (loan == NULL) {
            return NULL;
        }

        loan->size = NGX_EVENT_PIPE_LOAN;
        ngx_event_pipe_loans_size += NGX_EVENT_PIPE_LOAN;
    }

    ngx_memzero(&loan->raw, sizeof(ngx_buf_t));

    loan->raw.start = (u_char *) loan + sizeof(ngx_event_pipe_loan_t);
    loan->raw.end = loan->raw.start + loan->size;
    loan->raw.pos = loan->raw.start;
    loan->raw.last = loan->raw.start;
    loan->raw.temporary = 1;

    return loan;
}


void
ngx_event_pipe_glue_give_back(ngx_event_pipe_loan_t *loan)
{
    ngx_event_pipe_spoil(loan);
    ngx_event_pipe_lock(loan);

    loan->next = ngx_event_pipe_loans;
    ngx_event_pipe_loans = loan;
}


/* the request ends while its output still held what was read into a loan */

static void
ngx_event_pipe_loan_cleanup(void *data)
{
    ngx_event_pipe_state_t  *state = data;

    if (state->loan) {
        ngx_event_pipe_glue_give_back(state->loan);
        state->loan = NULL;
    }
}
