
/*
 * Stands between nginx and the system (LD_PRELOAD), and counts how many bytes a
 * process receives by readv(), which nginx receives bodies by, in each cycle of
 * events: from one epoll_wait() to the next.  The most of a cycle is kept in a
 * page of memory, in the file that PIPE_CYCLES names.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>


/* as main.rs has it */

struct page {
    _Atomic uint64_t  most;
    _Atomic uint64_t  cycles;
};


static struct page  *page;
static uint64_t      received;


/* before nginx clears its environment */

__attribute__((constructor))
static void
init(void)
{
    int    fd;
    char  *name;

    name = getenv("PIPE_CYCLES");
    fd = name ? open(name, O_RDWR) : -1;

    if (fd == -1) {
        perror("PIPE_CYCLES");
        _exit(1);
    }

    page = mmap(NULL, sizeof(struct page), PROT_READ|PROT_WRITE, MAP_SHARED,
                fd, 0);
    close(fd);

    if (page == MAP_FAILED) {
        perror("mmap");
        _exit(1);
    }
}


ssize_t
readv(int fd, const struct iovec *iov, int count)
{
    ssize_t  n;
    static ssize_t  (*real)(int, const struct iovec *, int);

    if (real == NULL) {
        real = dlsym(RTLD_NEXT, "readv");
    }

    n = real(fd, iov, count);

    if (n > 0) {
        received += n;
    }

    return n;
}


int
epoll_wait(int epfd, struct epoll_event *events, int count, int timeout)
{
    static int  (*real)(int, struct epoll_event *, int, int);

    if (real == NULL) {
        real = dlsym(RTLD_NEXT, "epoll_wait");
    }

    if (received > page->most) {
        page->most = received;
    }

    received = 0;
    page->cycles++;

    return real(epfd, events, count, timeout);
}
