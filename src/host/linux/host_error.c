/* See host_error.h. No state. */
#include "host/linux/host_error.h"

#include <errno.h>
#include <string.h>

const char *host_error(int err)
{
    switch (err) {
    case EMFILE: return "too many open files; ulimit -n 1024 is enough";
    case EAGAIN: return "no more processes are allowed; raise ulimit -u";
    case ENOMEM: return "no memory; use a smaller -m, or ulimit -v unlimited and ulimit -d unlimited";
    case EFBIG: return "no file may be so large; ulimit -f unlimited";
    default: return strerror(err);
    }
}
