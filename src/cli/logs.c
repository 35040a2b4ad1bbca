/* ring3 logs: what the console of a machine in the background said.
 *
 * The log is two files of bounded size (control/vm_log.h): when the first is full its bytes become
 * the second's and it starts anew. Who follows it sees the first shrink; what he had not read yet
 * is then in the second, at the same place.
 */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/replay.h"
#include "control/vm_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 1000000u
#define LOOK_MS 100

enum { FOLLOW, LINES };
static const struct args_option options[] = {
    [FOLLOW] = {"--follow", "-f", NULL},
    [LINES] = {"--lines", "-n", "LINES"},
    {0},
};

struct logs {
    int fd, old_fd;
    off_t at;      /* in the first file: what was shown so far */
    bool terminal; /* which is not to answer what the guest once asked */
    struct replay replay;
};

static int open_logs(const struct vms *v, const struct vm_entry *e, struct logs *l)
{
    int dir_fd = vm_open_dir(&v->base, e->name);
    l->fd = dir_fd < 0 ? -1 : openat(dir_fd, "log", O_RDONLY | O_CLOEXEC);
    l->old_fd = dir_fd < 0 ? -1 : openat(dir_fd, "log.1", O_RDONLY | O_CLOEXEC);
    if (dir_fd >= 0) {
        close(dir_fd);
    }
    if (l->fd < 0 || l->old_fd < 0) {
        vms_say(v, e,
                "it has no log: it was not started with --detach, its terminal has its output");
        return CLI_FAILED;
    }
    return 0;
}

static void close_logs(struct logs *l)
{
    if (l->fd >= 0) {
        close(l->fd);
    }
    if (l->old_fd >= 0) {
        close(l->old_fd);
    }
}

/* Show a file from a place on; the place after what was shown, or -1: nobody reads. */
static off_t show(struct logs *l, int fd, off_t at)
{
    char bytes[16384];
    uint8_t clean[sizeof(bytes) + REPLAY_HELD];
    ssize_t n;
    while ((n = pread(fd, bytes, sizeof(bytes), at)) > 0) {
        const void *shown = bytes;
        size_t len = (size_t)n;
        if (l->terminal) {
            len = replay_filter(&l->replay, bytes, len, clean);
            shown = clean;
        }
        if (fwrite(shown, 1, len, stdout) != len) {
            return -1;
        }
        at += n;
    }
    return fflush(stdout) ? -1 : at;
}

/* Where the last `lines` lines of a file begin; *missing: how many lines more there would have to
 * be. */
static off_t tail(int fd, unsigned lines, unsigned *missing)
{
    struct stat st;
    char bytes[4096];
    *missing = lines;
    if (!lines || fstat(fd, &st) != 0) {
        return 0;
    }
    for (off_t end = st.st_size; end > 0;) {
        off_t from = end > (off_t)sizeof(bytes) ? end - (off_t)sizeof(bytes) : 0;
        ssize_t n = pread(fd, bytes, (size_t)(end - from), from);
        for (ssize_t i = n - 1; i >= 0; i--) {
            bool last = from + i == st.st_size - 1; /* ends the last line, separates nothing */
            if (bytes[i] == '\n' && !last && --*missing == 0) {
                return from + i + 1;
            }
        }
        end = from;
    }
    *missing -= st.st_size > 0;
    return 0;
}

static bool show_all(struct logs *l, unsigned lines)
{
    unsigned missing = 0, ignored;
    off_t from = lines ? tail(l->fd, lines, &missing) : 0;
    if ((!lines || missing) &&
        show(l, l->old_fd, lines ? tail(l->old_fd, missing, &ignored) : 0) < 0) {
        return false;
    }
    l->at = show(l, l->fd, from);
    return l->at >= 0;
}

/* What was said since. */
static bool show_more(struct logs *l)
{
    struct stat st;
    if (fstat(l->fd, &st) == 0 && st.st_size < l->at) {
        if (show(l, l->old_fd, l->at) < 0) {
            return false;
        }
        l->at = 0;
    }
    l->at = show(l, l->fd, l->at);
    return l->at >= 0;
}

static void follow(const struct vms *v, const struct vm_entry *e, struct logs *l)
{
    for (;;) {
        struct vm_entry now;
        struct timespec rest = {.tv_nsec = LOOK_MS * 1000000};
        bool over = vm_look(&v->base, e->name, &now) != 0 || !vm_alive(&now);
        if (!show_more(l) || over) {
            return;
        }
        nanosleep(&rest, NULL);
    }
}

int logs_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    unsigned lines = 0;
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_words(&a, 1, 1, "the name of a machine");
    status = status ? status : args_number(&a, options, LINES, 1, LINES_MAX, &lines);
    if (status) {
        return status;
    }
    status = vms_open(&v, a.verb, VMS_BEGINNINGS);
    const struct vm_entry *e = status ? NULL : vms_find(&v, a.words[0]);
    status = status || e ? status : CLI_USAGE;
    if (e) {
        struct logs l = {.terminal = isatty(STDOUT_FILENO)};
        status = open_logs(&v, e, &l);
        if (!status && show_all(&l, lines) && a.value[FOLLOW]) {
            follow(&v, e, &l);
        }
        close_logs(&l);
    }
    vms_close(&v);
    return status;
}
