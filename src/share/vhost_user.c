/* The front-end's side of vhost-user. No state but the caller's. */
#include "share/vhost_user.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum request {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
};

#define VERSION 1u
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u
#define F_PROTOCOL_FEATURES (1ull << 30)
#define PROTOCOL_F_MQ (1ull << 0)
#define PROTOCOL_F_REPLY_ACK (1ull << 3)
#define FDS_MAX 2

struct head {
    uint32_t request, flags, size;
};

struct vring_state {
    uint32_t index, num;
};

struct vring_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log; /* addresses as the front-end sees RAM */
};

struct mem_region {
    uint64_t gpa, size, front_end, fd_offset;
};

struct mem_table {
    uint32_t count, padding;
    struct mem_region region[2];
};

/* ---- messages ---- */

static int send_all(int fd, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int receive_all(int fd, void *bytes, size_t len)
{
    uint8_t *at = bytes;
    while (len) {
        ssize_t n = recv(fd, at, len, 0);
        if (n == 0) {
            return -EPIPE;
        }
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* The head travels with the descriptors, the payload follows: as the protocol has it. */
static int send_message(int fd, const struct head *head, const void *payload, const int *fds, unsigned fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec vec[2] = {{.iov_base = (void *)(uintptr_t)head, .iov_len = sizeof(*head)},
                           {.iov_base = (void *)(uintptr_t)payload, .iov_len = head->size}};
    struct msghdr msg = {.msg_iov = vec, .msg_iovlen = 2};
    if (fd_count) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    size_t done = (size_t)n;
    if (done < sizeof(*head)) {
        return -EPROTO; /* 12 bytes always fit */
    }
    return send_all(fd, (const uint8_t *)payload + (done - sizeof(*head)), head->size - (done - sizeof(*head)));
}

/* The answer to `request`: exactly len bytes. */
static int receive_reply(int fd, uint32_t request, void *payload, uint32_t len)
{
    struct head head;
    int err = receive_all(fd, &head, sizeof(head));
    if (err) {
        return err;
    }
    if (head.request != request || !(head.flags & FLAG_REPLY) || head.size != len) {
        return -EPROTO;
    }
    return receive_all(fd, payload, len);
}

static int ask(struct vhost_user *u, uint32_t request, const void *payload, uint32_t len, void *reply, uint32_t reply_len)
{
    struct head head = {.request = request, .flags = VERSION, .size = len};
    int err = send_message(u->fd, &head, payload, NULL, 0);
    return err ? err : receive_reply(u->fd, request, reply, reply_len);
}

/* Tell it something, and wait until it has been done where that can be asked for. */
static int tell(struct vhost_user *u, uint32_t request, const void *payload, uint32_t len, const int *fds, unsigned fd_count)
{
    struct head head = {.request = request, .flags = VERSION | (u->ack ? FLAG_NEED_REPLY : 0), .size = len};
    int err = send_message(u->fd, &head, payload, fds, fd_count);
    uint64_t failed = 0;
    if (!err && u->ack) {
        err = receive_reply(u->fd, request, &failed, sizeof(failed));
    }
    return err ? err : failed ? -EIO : 0;
}

/* ---- hello ---- */

int vhost_user_hello(struct vhost_user *u, int fd)
{
    struct timeval limit = {.tv_sec = VHOST_USER_TIMEOUT_S};
    *u = (struct vhost_user){.fd = fd};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit))) {
        return -errno;
    }
    int err = ask(u, GET_FEATURES, NULL, 0, &u->features, sizeof(u->features));
    if (!err) {
        err = tell(u, SET_OWNER, NULL, 0, NULL, 0);
    }
    if (!err && (u->features & F_PROTOCOL_FEATURES)) {
        uint64_t protocol;
        err = ask(u, GET_PROTOCOL_FEATURES, NULL, 0, &protocol, sizeof(protocol));
        if (!err) {
            protocol &= PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK;
            err = tell(u, SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), NULL, 0);
            u->ack = protocol & PROTOCOL_F_REPLY_ACK;
        }
    }
    return err;
}

/* ---- queues ---- */

static int give_ram(struct vhost_user *u, const struct ram *ram)
{
    const int fds[2] = {ram->fd, ram->fd};
    uint64_t low = min_u64(ram->size, RAM_HOLE_START);
    struct mem_table table = {.count = 1, .region[0] = {.gpa = 0, .size = low, .front_end = (uintptr_t)ram->base}};
    if (ram->size > low) {
        table.count = 2;
        table.region[1] = (struct mem_region){
            .gpa = RAM_HOLE_END, .size = ram->size - low, .front_end = (uintptr_t)ram->base + low, .fd_offset = low};
    }
    uint32_t len = (uint32_t)(offsetof(struct mem_table, region) + table.count * sizeof(table.region[0]));
    return tell(u, SET_MEM_TABLE, &table, len, fds, table.count);
}

static int give_queue(struct vhost_user *u, uint32_t index, const struct virtq *q, int kick, int call)
{
    struct vring_state num = {index, q->size}, base = {index, 0}, enable = {index, 1};
    struct vring_addr addr = {
        .index = index, .desc = (uintptr_t)q->desc, .avail = (uintptr_t)q->avail, .used = (uintptr_t)q->used_ring};
    uint64_t which = index;
    int err = tell(u, SET_VRING_NUM, &num, sizeof(num), NULL, 0);
    err = err ? err : tell(u, SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
    err = err ? err : tell(u, SET_VRING_BASE, &base, sizeof(base), NULL, 0);
    err = err ? err : tell(u, SET_VRING_CALL, &which, sizeof(which), &call, 1);
    err = err ? err : tell(u, SET_VRING_KICK, &which, sizeof(which), &kick, 1);
    if (!err && (u->features & F_PROTOCOL_FEATURES)) {
        err = tell(u, SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0);
    }
    return err;
}

int vhost_user_start(struct vhost_user *u, const struct virtio_device *d, const int *kick, const int *call)
{
    uint64_t features = d->features | (u->features & F_PROTOCOL_FEATURES);
    int err = tell(u, SET_FEATURES, &features, sizeof(features), NULL, 0);
    err = err ? err : give_ram(u, &d->ram);
    for (unsigned q = 0; q < d->queue_count && !err; q++) {
        if (d->queue[q].size) {
            err = give_queue(u, q, &d->queue[q], kick[q], call[q]);
        }
    }
    return err;
}

int vhost_user_stop(struct vhost_user *u, const struct virtio_device *d)
{
    int err = 0;
    for (unsigned q = 0; q < d->queue_count && !err; q++) {
        if (d->queue[q].size) {
            struct vring_state ask_base = {.index = q}, base;
            err = ask(u, GET_VRING_BASE, &ask_base, sizeof(ask_base), &base, sizeof(base));
        }
    }
    return err;
}
