/* Files that disappear when they are not finished, and the signals that may interrupt: see image.h.
 *
 * State: which signal came; a signal handler has nowhere else to leave it.
 */
#include "block/lock.h"
#include "cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_CUT 230 /* of the 255 bytes that a file's name can have */

static volatile sig_atomic_t caught;

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(int signo)
{
    caught = signo;
}

void signals_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) { /* nohup */
            sigaction(signals[i], &action, NULL);
        }
    }
}

bool signals_caught(void)
{
    return caught;
}

void signals_release(void)
{
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == on_signal) {
            signal(signals[i], SIG_DFL);
        }
    }
    if (caught) {
        raise(caught);
    }
}

/** What is there already may be replaced: a file that nobody uses. */
static int may_replace(const struct image_args *a, const char *path, bool force)
{
    struct block_error err;
    struct image_lock lock;
    struct stat st;
    if (!force) {
        return image_say(a, CLI_USAGE, "%s exists already; -y overwrites it", path);
    }
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st)) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return image_say(a, CLI_USAGE, "%s: %s", path, strerror(error));
    }
    int status = 0;
    if (!S_ISREG(st.st_mode)) {
        status = image_say(a, CLI_USAGE, "%s is not a file, and cannot be replaced by one", path);
    } else if (lock_take(&lock, fd, path, true, NULL, &err)) {
        status = image_say(a, CLI_USAGE, "%s", err.text);
    } else {
        close(fd);
        lock_drop(&lock);
        return 0;
    }
    close(fd);
    return status;
}

/** PATH.partPID, the file's own name cut so that the whole fits. malloc'd, or NULL. */
static char *temporary_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash + 1 - path) : 0;
    char *name;
    return asprintf(&name, "%.*s%.*s.part%d", folder, path, NAME_CUT, path + folder,
                    (int)getpid()) < 0
               ? NULL
               : name;
}

int output_begin(const struct image_args *a, const char *path, bool force, struct image_output *out)
{
    struct stat st;
    if (!path[0]) {
        return image_say(a, CLI_USAGE, "\"\" names no file");
    }
    *out = (struct image_output){.path = strdup(path), .fd = -1};
    out->replaces = lstat(path, &st) == 0;
    out->temporary = temporary_name(path);
    int status = out->replaces ? may_replace(a, path, force) : 0;
    if (!status && (!out->path || !out->temporary)) {
        status = image_say(a, IMAGE_PROBLEM, "no memory");
    } else if (!status) {
        out->fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (out->fd < 0) {
            status = image_say(a, CLI_USAGE, "%s cannot be made: %s", path, strerror(errno));
        }
    }
    if (status) {
        free(out->path);
        free(out->temporary);
    }
    return status;
}

void output_discard(struct image_output *out)
{
    close(out->fd);
    unlink(out->temporary);
    free(out->path);
    free(out->temporary);
    *out = (struct image_output){.fd = -1};
}

/** Give the file its name, without taking it from another. 0 or an errno. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    if (link(from, to) == 0) { /* a file system that does not know the flag */
        unlink(from);
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) {
        return errno;
    }
    struct stat st; /* and no links either */
    return lstat(to, &st) == 0 ? EEXIST : rename(from, to) ? errno : 0;
}

/** Bring the folder's entry for path to stable storage. */
static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(copy);
    if (fd < 0) {
        return errno == EACCES ? 0 : -errno; /* one may be allowed to make files, but not to look */
    }
    int rc = fsync(fd) && errno != EINVAL ? -errno : 0;
    close(fd);
    return rc;
}

int output_finish(const struct image_args *a, struct image_output *out)
{
    int error = fsync(out->fd) ? errno : 0;
    if (!error && out->replaces) {
        error = rename(out->temporary, out->path) ? errno : 0;
    } else if (!error) {
        error = rename_new(out->temporary, out->path);
    }
    if (error) {
        int status =
            error == EEXIST && !out->replaces
                ? image_say(a, IMAGE_PROBLEM, "%s was made by another program meanwhile: it stays",
                            out->path)
                : image_say(a, IMAGE_PROBLEM, "%s: %s", out->path, strerror(error));
        output_discard(out);
        return status;
    }
    int rc = sync_folder(out->path);
    int status = rc ? image_say(a, IMAGE_PROBLEM, "%s: %s", out->path, strerror(-rc)) : 0;
    close(out->fd);
    free(out->path);
    free(out->temporary);
    *out = (struct image_output){.fd = -1};
    return status;
}
