
/*
 * Stands between nginx and the disk (LD_PRELOAD): no read of a file ends while
 * the test holds a lock on the file that PIPE_DISK names.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>


static char  *name;


/* before nginx clears its environment */

__attribute__((constructor))
static void
init(void)
{
    name = strdup(getenv("PIPE_DISK"));
}


static void
wait_for_disk(void)
{
    int  fd;

    fd = open(name, O_RDONLY);

    flock(fd, LOCK_SH);
    close(fd);
}


static ssize_t
read_later(const char *call, int fd, void *buf, size_t size, off_t offset)
{
    ssize_t  (*next)(int fd, void *buf, size_t size, off_t offset);

    wait_for_disk();

    next = (ssize_t (*)(int, void *, size_t, off_t)) dlsym(RTLD_NEXT, call);

    return next(fd, buf, size, offset);
}


ssize_t
pread(int fd, void *buf, size_t size, off_t offset)
{
    return read_later("pread", fd, buf, size, offset);
}


ssize_t
pread64(int fd, void *buf, size_t size, off_t offset)
{
    return read_later("pread64", fd, buf, size, offset);
}
