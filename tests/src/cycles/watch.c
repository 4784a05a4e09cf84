
/*
 * Stands between nginx and epoll_wait() (LD_PRELOAD).  It takes the time of the
 * cycles of one worker: from the return of epoll_wait() to the next call, which
 * is how long an event may have to wait.  And it counts the bytes that readv()
 * brings in a cycle, by which nginx receives bodies.  The figures are kept in a
 * page of memory, in the file that PIPE_CYCLES names.  Who measures reads them there,
 * and writes the page anew, with the worker that is meant, to begin again.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>

#include "../preload.h"


/* as cycles.rs has it: eight bins from each power of two to the next */

#define BINS  512

struct page {
    volatile uint64_t  worker;
    /* nanoseconds */
    volatile uint64_t  longest;
    /* bytes */
    volatile uint64_t  most;
    volatile uint64_t  count[BINS];
};


static struct page  *page;
static uint64_t      received;


__attribute__((constructor))
static void
init(void)
{
    page = map_page("PIPE_CYCLES", sizeof(struct page));
}


static uint64_t
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void
count(uint64_t cycle)
{
    unsigned  power;

    if (cycle > page->longest) {
        page->longest = cycle;
    }

    if (received > page->most) {
        page->most = received;
    }

    power = 63 - __builtin_clzll(cycle | 8);
    page->count[power * 8 + ((cycle >> (power - 3)) & 7)]++;
}


ssize_t
readv(int fd, const struct iovec *iov, int count)
{
    ssize_t  n;

    static ssize_t  (*original)(int fd, const struct iovec *iov, int count);

    if (original == NULL) {
        original = (ssize_t (*)(int, const struct iovec *, int))
                       dlsym(RTLD_NEXT, "readv");
    }

    n = original(fd, iov, count);

    if (n > 0) {
        received += n;
    }

    return n;
}


int
epoll_wait(int ep, struct epoll_event *events, int size, int timeout)
{
    int  n;

    static int       (*original)(int ep, struct epoll_event *events, int size,
                                 int timeout);
    static uint64_t  start, self;

    if (original == NULL) {
        original = (int (*)(int, struct epoll_event *, int, int))
                       dlsym(RTLD_NEXT, "epoll_wait");
        self = getpid();

    } else if (page->worker == self) {
        count(now() - start);
    }

    received = 0;

    n = original(ep, events, size, timeout);

    start = now();

    return n;
}
