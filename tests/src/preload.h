
/*
 * What the libraries share that stand between nginx and the system (LD_PRELOAD)
 * and have a page of memory together with the test.
 */


#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>


static void
fail(const char *what)
{
    perror(what);
    _exit(1);
}


/*
 * Maps the file that an environment variable names.  To be called by a
 * constructor: nginx clears its environment.
 */

static void *
map_page(const char *variable, size_t size)
{
    int    fd;
    char  *name;
    void  *page;

    name = getenv(variable);
    if (name == NULL) {
        fail(variable);
    }

    fd = open(name, O_RDWR);
    if (fd == -1) {
        fail(name);
    }

    page = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fail("mmap()");
    }

    close(fd);

    return page;
}
