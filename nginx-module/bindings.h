
/* The headers of the configured nginx tree that bindgen reads. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

#include "ngx_event_pipe_glue.h"
