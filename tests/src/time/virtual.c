
/*
 * Stands between nginx and its clocks (LD_PRELOAD).  Time passes only when the
 * test says so: it is kept in a page of memory, in the file that PIPE_TIME
 * names, which the test and all processes of nginx share.
 *
 * nginx comes to rest in epoll_wait().  The test learns there whether it has:
 * a process copies the test's question to its answer when it has looked for
 * events after the question, has found none, and no timer was over.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "../preload.h"


/* as time.rs has it */

#define PROCESSES  32

struct process {
    _Atomic uint64_t  id;
    _Atomic uint64_t  answer;
    /* how many times it was given something to do */
    _Atomic uint64_t  events;
    /* when its next timer is over */
    _Atomic uint64_t  deadline;
};

struct page {
    /* milliseconds: the time that always goes on, and that of the day */
    _Atomic uint64_t  now;
    _Atomic uint64_t  wall;
    _Atomic uint64_t  question;
    _Atomic uint64_t  processes;
    struct process    process[PROCESSES];
};


static struct page  *page;


__attribute__((constructor))
static void
init(void)
{
    page = map_page("PIPE_TIME", sizeof(struct page));
}


int
clock_gettime(clockid_t clock, struct timespec *ts)
{
    uint64_t  now;

    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE) {
        return syscall(SYS_clock_gettime, clock, ts);
    }

    now = page->now;

    ts->tv_sec = now / 1000;
    ts->tv_nsec = now % 1000 * 1000000;

    return 0;
}


int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    uint64_t  wall;

    (void) tz;

    wall = page->wall;

    tv->tv_sec = wall / 1000;
    tv->tv_usec = wall % 1000 * 1000;

    return 0;
}


/* the entry of this process; the master has none, as it never waits here */

static struct process *
own(void)
{
    uint64_t                n;
    static struct process  *process;

    if (process == NULL) {
        n = atomic_fetch_add(&page->processes, 1);

        if (n >= PROCESSES) {
            fail("too many processes");
        }

        process = &page->process[n];
        process->id = getpid();
    }

    return process;
}


int
epoll_wait(int ep, struct epoll_event *events, int size, int timeout)
{
    int              n;
    uint64_t         question, deadline;
    struct process  *process;

    static int     (*look)(int ep, struct epoll_event *events, int size,
                           int timeout);

    if (look == NULL) {
        look = (int (*)(int, struct epoll_event *, int, int))
                   dlsym(RTLD_NEXT, "epoll_wait");
    }

    process = own();
    deadline = (timeout == -1) ? UINT64_MAX : page->now + timeout;

    for ( ;; ) {
        question = page->question;

        n = look(ep, events, size, 0);

        if (n == 0 && page->now < deadline) {
            process->deadline = deadline;
            process->answer = question;
            n = look(ep, events, size, 1);
        }

        if (n != 0 || page->now >= deadline) {
            process->events++;
            return n;
        }
    }
}
