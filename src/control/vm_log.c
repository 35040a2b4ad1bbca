/* The bounded log of a detached machine: see vm_log.h. */
#include "control/vm_log.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void vm_log_init(struct vm_log *l, int fd, int old_fd)
{
    struct stat st = {0};
    (void)!fstat(fd, &st);
    *l = (struct vm_log){.fd = fd, .old_fd = old_fd, .size = (uint64_t)st.st_size};
}

/* Bytes to a place in a file; how many were written. */
static size_t put(int fd, const uint8_t *bytes, size_t len, uint64_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    return done;
}

static void rotate(struct vm_log *l)
{
    uint8_t bytes[16384];
    uint64_t at = 0;
    (void)!ftruncate(l->old_fd, 0);
    while (at < l->size) {
        ssize_t n = pread(l->fd, bytes, sizeof(bytes), (off_t)at);
        if (n <= 0 || put(l->old_fd, bytes, (size_t)n, at) < (size_t)n) {
            break;
        }
        at += (uint64_t)n;
    }
    (void)!ftruncate(l->fd, 0);
    l->size = 0;
}

void vm_log_write(struct vm_log *l, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    while (len) {
        if (l->size >= VM_LOG_MAX) {
            rotate(l);
        }
        size_t n = min_u64(len, VM_LOG_MAX - l->size);
        l->size += put(l->fd, from, n, l->size);
        from += n;
        len -= n;
    }
}
