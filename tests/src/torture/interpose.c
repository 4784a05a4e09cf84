
/*
 * Stands between one nginx process and the system (LD_PRELOAD): counts the
 * calls that can fail, fails those that the test orders to, and lets nginx go
 * on only when the test says so.
 *
 * nginx comes to rest in epoll_wait().  There this library reports to the test
 * over a socket and waits for its next order.  So whatever the test does to
 * nginx's peers in the meantime has happened before nginx looks again: the same
 * steps give the same calls, in every run.
 *
 * The clock of nginx's timers stands still but for orders to move it.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>


/* as fault.rs and control.rs have it */

enum call {
    RECEIVE,
    SEND,
    READ_FILE,
    WRITE_FILE,
    OPEN,
    MANAGE,
    REGISTER,
    ALLOCATE,
    CALLS
};

enum what {
    GO_ON,
    /* counts anew, and forgets the fault before */
    ARM,
    /* all timers are over */
    PASS_TIME
};

/* the call does half of what it should */
#define SHORT  -1

struct order {
    uint32_t  what;
    uint32_t  call;
    /* which call fails, from 1 on; 0 for none */
    uint32_t  nth;
    /* how: an errno or SHORT */
    int32_t   first;
    /* how all that follow fail; 0 if they do not */
    int32_t   later;
};

struct report {
    /* how many times nginx had something to do since the order before */
    uint32_t  rounds;
    uint32_t  fired;
    uint32_t  seen[CALLS];
};


static int               test = -1;
static struct order      fault;
static uint32_t          rounds;
static atomic_uint       fired;
static atomic_uint       seen[CALLS];

static struct timespec   now = { 1000, 0 };


__attribute__((constructor))
static void
connect_to_test(void)
{
    struct sockaddr_un  address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof(address.sun_path), "%s",
             getenv("PIPE_TORTURE"));

    test = socket(AF_UNIX, SOCK_STREAM, 0);

    if (connect(test, (struct sockaddr *) &address, sizeof(address)) == -1) {
        perror("connecting to the test");
        _exit(1);
    }
}


/* what becomes of a call: 0, an errno, or SHORT */

static int
fate(enum call call)
{
    unsigned  nth = atomic_fetch_add(&seen[call], 1) + 1;

    if (call != fault.call || fault.nth == 0 || nth < fault.nth) {
        return 0;
    }

    if (nth > fault.nth) {
        return fault.later;
    }

    atomic_store(&fired, 1);

    return fault.first;
}


/* sets errno, or size to what the call shall do */

static int
fails_or_cuts(enum call call, size_t *size)
{
    int  error = fate(call);

    if (error == SHORT) {
        *size = (*size + 1) / 2;
        return 0;
    }

    if (error != 0) {
        errno = error;
        return 1;
    }

    return 0;
}


static int
fails(enum call call)
{
    size_t  size = 0;

    return fails_or_cuts(call, &size);
}


/* a vector is cut to half of its first part, for which there is room in half */

static int
fails_or_cuts_vector(enum call call, const struct iovec **iov, int *count,
    struct iovec *half)
{
    int  failed;

    *half = (*iov)[0];

    failed = fails_or_cuts(call, &half->iov_len);

    if (half->iov_len != (*iov)[0].iov_len) {
        *iov = half;
        *count = 1;
    }

    return failed;
}


ssize_t
recv(int fd, void *buf, size_t size, int flags)
{
    if (fails(RECEIVE)) {
        return -1;
    }

    return syscall(SYS_recvfrom, fd, buf, size, flags, NULL, NULL);
}


ssize_t
readv(int fd, const struct iovec *iov, int count)
{
    if (fails(RECEIVE)) {
        return -1;
    }

    return syscall(SYS_readv, fd, iov, count);
}


ssize_t
send(int fd, const void *buf, size_t size, int flags)
{
    if (fails_or_cuts(SEND, &size)) {
        return -1;
    }

    return syscall(SYS_sendto, fd, buf, size, flags, NULL, 0);
}


ssize_t
writev(int fd, const struct iovec *iov, int count)
{
    struct iovec  half;

    if (fails_or_cuts_vector(SEND, &iov, &count, &half)) {
        return -1;
    }

    return syscall(SYS_writev, fd, iov, count);
}


ssize_t
sendfile64(int out, int in, off64_t *offset, size_t size)
{
    if (fails_or_cuts(SEND, &size)) {
        return -1;
    }

    return syscall(SYS_sendfile, out, in, offset, size);
}


ssize_t
pread64(int fd, void *buf, size_t size, off64_t offset)
{
    if (fails(READ_FILE)) {
        return -1;
    }

    return syscall(SYS_pread64, fd, buf, size, offset);
}


ssize_t
pwrite64(int fd, const void *buf, size_t size, off64_t offset)
{
    if (fails_or_cuts(WRITE_FILE, &size)) {
        return -1;
    }

    return syscall(SYS_pwrite64, fd, buf, size, offset);
}


ssize_t
pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    struct iovec  half;

    if (fails_or_cuts_vector(WRITE_FILE, &iov, &count, &half)) {
        return -1;
    }

    return syscall(SYS_pwritev, fd, iov, count, offset, 0);
}


int
open64(const char *path, int flags, ...)
{
    va_list  args;
    mode_t   mode;

    if (fails(OPEN)) {
        return -1;
    }

    va_start(args, flags);
    mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
    va_end(args);

    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}


int
rename(const char *from, const char *to)
{
    if (fails(MANAGE)) {
        return -1;
    }

    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}


int
unlink(const char *path)
{
    if (fails(MANAGE)) {
        return -1;
    }

    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}


int
mkdir(const char *path, mode_t mode)
{
    if (fails(MANAGE)) {
        return -1;
    }

    return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}


int
chmod(const char *path, mode_t mode)
{
    if (fails(MANAGE)) {
        return -1;
    }

    return syscall(SYS_fchmodat, AT_FDCWD, path, mode);
}


int
fstat64(int fd, struct stat64 *stat)
{
    if (fails(MANAGE)) {
        return -1;
    }

    return fstatat64(fd, "", stat, AT_EMPTY_PATH);
}


int
epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (fails(REGISTER)) {
        return -1;
    }

    return syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}


/* glibc's own, under the names that nothing takes the place of */

void *__libc_malloc(size_t size);
void *__libc_memalign(size_t alignment, size_t size);


void *
malloc(size_t size)
{
    return fails(ALLOCATE) ? NULL : __libc_malloc(size);
}


int
posix_memalign(void **memory, size_t alignment, size_t size)
{
    void  *allocated;

    allocated = fails(ALLOCATE) ? NULL : __libc_memalign(alignment, size);

    if (allocated == NULL) {
        return ENOMEM;
    }

    *memory = allocated;

    return 0;
}


int
clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
        *time = now;
        return 0;
    }

    return syscall(SYS_clock_gettime, clock, time);
}


/* as with TCP, a connection's buffer is as large as the listening socket's */

int
accept4(int listening, struct sockaddr *address, socklen_t *length, int flags)
{
    int        fd, size;
    socklen_t  size_length = sizeof(int);

    fd = syscall(SYS_accept4, listening, address, length, flags);

    if (fd != -1) {
        getsockopt(listening, SOL_SOCKET, SO_SNDBUF, &size, &size_length);
        size /= 2;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(int));
    }

    return fd;
}


/* reports and waits for an order; false when there will be none any more */

static int
ask_test(void)
{
    int            n;
    struct order   order;
    struct report  report = { .rounds = rounds, .fired = atomic_load(&fired) };

    for (n = 0; n < CALLS; n++) {
        report.seen[n] = atomic_load(&seen[n]);
    }

    rounds = 0;

    if (write(test, &report, sizeof(report)) != sizeof(report)
        || read(test, &order, sizeof(order)) != sizeof(order))
    {
        close(test);
        test = -1;
        return 0;
    }

    if (order.what == ARM) {
        fault = order;
        atomic_store(&fired, 0);

        for (n = 0; n < CALLS; n++) {
            atomic_store(&seen[n], 0);
        }
    }

    if (order.what == PASS_TIME) {
        now.tv_sec += 1000;
    }

    return 1;
}


static int
wait_for_events(int epoll, struct epoll_event *events, int max, int timeout)
{
    return syscall(SYS_epoll_pwait, epoll, events, max, timeout, NULL, 0);
}


int
epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    int     n;
    time_t  before = now.tv_sec;

    if (test == -1) {
        return wait_for_events(epoll, events, max, timeout);
    }

    for ( ;; ) {
        n = wait_for_events(epoll, events, max, 0);

        if (n != 0 || timeout == 0 || now.tv_sec != before) {
            rounds++;
            return n;
        }

        if (!ask_test()) {
            /* a signal ends the test */
            errno = EINTR;
            return -1;
        }
    }
}
