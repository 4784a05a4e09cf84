
/*
 * Included before each source of nginx that the harness compiles, and after
 * all headers: sends the calls that the harness wants to see, to fail or to do
 * itself, to functions of its own.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_pipe.h>

int harness_open(const char *name, int flags, ...);
int harness_close(int fd);
int harness_unlink(const char *name);
ssize_t harness_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t harness_pwritev(int fd, const struct iovec *iov, int count,
    off_t offset);

#define open                          harness_open
#define close                         harness_close
#define unlink                        harness_unlink
#define pwrite                        harness_pwrite
#define pwritev                       harness_pwritev
