/* A directory of the host in the guest: a virtio-fs device (virtio 1.2 §5.11), served by Debian's virtiofsd.
 *
 * virtiofsd is a process of its own, without rights outside the directory; it gets guest RAM and the device's queues (vhost_user.h). ring3 does
 * not look at what is in them.
 */
#ifndef SHARE_SHARE_H
#define SHARE_SHARE_H

#include "dev/virtio/device.h"
#include "host/linux/io.h"

#define SHARE_TAG_MAX 36u /* bytes, virtio 1.2 §5.11.4 */

struct share_error {
    char text[512]; /* one line: what is wrong, where, what to do */
};

/** One `-v SRC:DST[:ro]`. */
struct share_config {
    char source[4096]; /* an absolute path of the host */
    char target[4096]; /* an absolute path of the guest */
    bool read_only;
    char tag[SHARE_TAG_MAX + 1]; /* the device's name in the guest */
};

/** Parse the argument of -v; index: the how-manieth share it is, for the tag. A relative SRC is taken from the working directory; a colon in a name is
 *  written as two. 0, or -1 with *err. */
int share_parse(const char *arg, unsigned index, struct share_config *c, struct share_error *err) MUST_CHECK;

struct share;

/** Start virtiofsd for it and make the device in slot, with its thread. RAM exists, no vCPU task does. 0, or -1 with *err. */
int share_create(const struct share_config *c, struct virtio_regs *regs, const struct ram *ram, unsigned slot, struct share **out,
                 struct share_error *err) MUST_CHECK;
void share_destroy(struct share *s);
/** Its device and its thread, which is to be started after the vCPU tasks. */
struct virtio_device *share_device(struct share *s);
struct io_thread *share_thread(struct share *s);

/** A virtiofsd serving a directory; descriptors. */
struct share_helper {
    int fd;       /* the vhost-user connection */
    int pidfd;    /* the process */
    int messages; /* what it writes to standard error; non-blocking */
};

/** Start one, for share_create. 0, or -1 with *err. */
int share_spawn(const struct share_config *c, struct share_helper *h, struct share_error *err) MUST_CHECK;

#endif
