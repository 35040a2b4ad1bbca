/* Implementation of lock.h.
 *
 * Notes are called DEVICE-INODE-PID-N, after the image's device and inode number. A note is true
 * while its file is locked by its writer: one left over by a killed process is not, and whoever
 * meets it removes it. State: none but files.
 */
#include "block/lock.h"

#include "block/impl.h"
#include "host/linux/runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NOTE_MAX 256
#define KEY_TEXT 40 /* two numbers of 16 digits, two dashes */
#define NOTES_PER_PROCESS 1000u

struct image_key {
    uint64_t device, inode;
};

static int file_lock(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static bool file_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A block device is the same under each of its names. */
static int image_key(int fd, struct image_key *key)
{
    struct stat st;
    if (fstat(fd, &st)) {
        return -errno;
    }
    *key = (struct image_key){.device = st.st_dev, .inode = st.st_ino};
    if (S_ISBLK(st.st_mode)) {
        *key = (struct image_key){.device = st.st_rdev, .inode = 0};
    }
    return 0;
}

/* ---- notes ---- */

static void note_prefix(const struct image_key *key, char *name, size_t size)
{
    snprintf(name, size, "%llx-%llx-", (unsigned long long)key->device,
             (unsigned long long)key->inode);
}

/* A new locked note, or a negative errno. Somebody who took it for left over may remove it between
 * open and lock. */
static int note_create(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int err = file_lock(fd, F_WRLCK);
    if (!err && (fstat(fd, &st) || st.st_nlink == 0)) {
        err = -EAGAIN;
    }
    if (!err && ftruncate(fd, 0)) {
        err = -errno;
    }
    if (err) {
        close(fd);
    }
    return err ? err : fd;
}

/* Write the note of this process about the image; sets l->note and l->name, or leaves them. */
static void note_write(struct image_lock *l, int dir, const struct image_key *key,
                       const char *vm_name)
{
    char prefix[KEY_TEXT], text[NOTE_MAX];
    int fd = -1;
    note_prefix(key, prefix, sizeof(prefix));
    for (unsigned i = 0; i < NOTES_PER_PROCESS && fd < 0; i++) {
        snprintf(l->name, sizeof(l->name), "%s%d-%u", prefix, (int)getpid(), i);
        fd = note_create(dir, l->name);
        if (fd < 0 && fd != -EAGAIN && fd != -EACCES) {
            return; /* not just taken */
        }
    }
    snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), vm_name ? vm_name : "");
    if (fd >= 0 && write(fd, text, strlen(text)) < 0) {
        (void)!ftruncate(fd, 0); /* an empty note: nobody is named */
    }
    l->note = fd;
}

/* The pid and the VM's name in a note. The folder is ours alone, but an image's name may hold
 * anything. */
static bool note_parse(char *text, int *pid, char **vm_name)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (value <= 0 || value > INT_MAX || *end != ' ') {
        return false;
    }
    *pid = (int)value;
    *vm_name = end + 1;
    for (char *c = *vm_name; *c; c++) {
        if ((unsigned char)*c < ' ') {
            *c = '\0';
            break;
        }
    }
    return true;
}

/* Read the note `name`. False, and it is removed: nobody holds it any more. */
static bool note_read(int dir, const char *name, char text[NOTE_MAX])
{
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool held = file_locked(fd);
    ssize_t n = held ? pread(fd, text, NOTE_MAX - 1, 0) : -1;
    if (!held && file_lock(fd, F_WRLCK) == 0) {
        unlinkat(dir, name, 0);
    }
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Look through all notes, which removes those that are not true any more. True: text is one about
 * this image. */
static bool note_find(const struct image_key *key, char text[NOTE_MAX])
{
    char prefix[KEY_TEXT], other[NOTE_MAX];
    int fd = runtime_dir_open(RUNTIME_DIR_LOCKS, true, NULL, 0);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    note_prefix(key, prefix, sizeof(prefix));
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.') {
            continue;
        }
        bool ours = !found && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
        found |= note_read(dirfd(dir), e->d_name, ours ? text : other) && ours;
    }
    closedir(dir);
    return found;
}

/* ---- the lock ---- */

static int refuse(const struct image_key *key, const char *path, bool write,
                  struct block_error *err)
{
    char text[NOTE_MAX], *vm_name;
    const char *remedy = write ? "stop it first, or open the image read-only in both (ro)"
                               : "it writes there: stop it first";
    int pid;
    if (!note_find(key, text) || !note_parse(text, &pid, &vm_name)) {
        return block_fail(err, "%s is in use by another program: %s", path, remedy);
    }
    if (pid == (int)getpid()) {
        return block_fail(
            err, "%s is used twice here: each disk and each leg needs an image of its own", path);
    }
    if (vm_name[0] == '\0') {
        return block_fail(err, "%s is in use by ring3 (process %d): %s", path, pid, remedy);
    }
    return block_fail(err, "%s is in use by the VM %s (process %d): %s", path, vm_name, pid,
                      remedy);
}

int lock_take(struct image_lock *l, int fd, const char *path, bool write, const char *vm_name,
              struct block_error *err)
{
    struct image_key key = {0};
    l->note = -1;
    int rc = image_key(fd, &key);
    if (rc) {
        return block_fail(err, "%s: %s", path, strerror(-rc));
    }
    rc = file_lock(fd, write ? F_WRLCK : F_RDLCK);
    if (rc == -EAGAIN || rc == -EACCES) {
        (void)refuse(&key, path, write, err);
        err->busy = true;
        return -1;
    }
    if (rc) {
        return block_fail(err, "%s cannot be locked (%s): put it on a file system that knows locks",
                          path, strerror(-rc));
    }
    int dir = runtime_dir_open(RUNTIME_DIR_LOCKS, true, NULL, 0);
    if (dir >= 0) {
        char text[NOTE_MAX];
        note_find(&key, text);
        note_write(l, dir, &key, vm_name);
        close(dir);
    }
    return 0;
}

void lock_drop(struct image_lock *l)
{
    if (l->note < 0) {
        return;
    }
    int dir = runtime_dir_open(
        RUNTIME_DIR_LOCKS, true, NULL,
        0); /* not after the jail has closed: then the note stays, and is found untrue */
    if (dir >= 0) {
        unlinkat(dir, l->name, 0);
        close(dir);
    }
    close(l->note);
    l->note = -1;
}

void lock_sweep(void)
{
    const struct image_key none = {0};
    char text[NOTE_MAX];
    note_find(&none, text);
}
