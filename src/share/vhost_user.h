/* vhost-user: handing a virtio device's queues to another process, which then serves them out of guest RAM by itself.
 *
 * We are the front-end. The other process gets RAM's file descriptor, the addresses of the rings, an eventfd that the guest's kick rings and
 * one that it rings to interrupt. QEMU's "Vhost-user Protocol" describes it; only what virtiofsd needs is here.
 * Calls block for VHOST_USER_TIMEOUT_S at most. One thread at a time.
 */
#ifndef SHARE_VHOST_USER_H
#define SHARE_VHOST_USER_H

#include "dev/virtio/device.h"

#define VHOST_USER_TIMEOUT_S 5

struct vhost_user {
    int fd;             /* the connection; owned by whoever made it */
    bool ack;           /* the other side answers every message when asked to */
    uint64_t features;  /* what it can do */
};

/** Say hello over a connected socket. 0 or -errno (-EPROTO: it speaks something else). */
int vhost_user_hello(struct vhost_user *u, int fd) MUST_CHECK;
/** Hand over RAM and the queues of d, whose driver is ready; call[q] is the eventfd to interrupt by, kick[q] the one to be kicked by. The rings
 *  were checked by virtq_init. 0 or -errno. */
int vhost_user_start(struct vhost_user *u, const struct virtio_device *d, const int *kick, const int *call) MUST_CHECK;
/** Take the queues back: afterwards it touches none of them. 0 or -errno (it is gone, or broken: then kill it). */
int vhost_user_stop(struct vhost_user *u, const struct virtio_device *d) MUST_CHECK;

#endif
