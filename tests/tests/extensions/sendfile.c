
/*
 * Stands between nginx and the kernel (LD_PRELOAD): each sendfile() takes a
 * while before it begins.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <unistd.h>


#define WHILE  2000


static ssize_t
send_later(const char *name, int out, int in, off_t *offset, size_t size)
{
    ssize_t  (*next)(int out, int in, off_t *offset, size_t size);

    usleep(WHILE);

    next = (ssize_t (*)(int, int, off_t *, size_t)) dlsym(RTLD_NEXT, name);

    return next(out, in, offset, size);
}


ssize_t
sendfile(int out, int in, off_t *offset, size_t size)
{
    return send_later("sendfile", out, in, offset, size);
}


ssize_t
sendfile64(int out, int in, off_t *offset, size_t size)
{
    return send_later("sendfile64", out, in, offset, size);
}
