
/*
 * Stands between nginx and the disk (LD_PRELOAD): each read of a file takes a
 * while.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <unistd.h>


#define WHILE  1500000


static ssize_t
read_later(const char *name, int fd, void *buf, size_t size, off_t offset)
{
    ssize_t  (*next)(int fd, void *buf, size_t size, off_t offset);

    usleep(WHILE);

    next = (ssize_t (*)(int, void *, size_t, off_t)) dlsym(RTLD_NEXT, name);

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
