
/* nginx's thread pool, where nginx has threads: it does not compile without */

#include "interposed.h"

#if (NGX_THREADS)
#include <ngx_thread_pool.c>
#endif
