/* The MAC address of a card that was given none: always the same for a VM of that name on this
 * host. No state. */
#include "net/net.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ at[i]) * FNV_PRIME;
    }
    return h;
}

/* Two hosts on one network may each have a VM of that name. */
static uint64_t hash_host(uint64_t h)
{
    char id[64];
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, id, sizeof(id));
    if (fd >= 0) {
        close(fd);
    }
    return hash(h, id, n > 0 ? (size_t)n : 0);
}

/* 52:33:xx:xx:xx:xx: locally administered, one station's. "R3" in ASCII, too. */
void net_make_mac(const struct net_config *c, uint8_t mac[6])
{
    static const uint8_t none[6];
    memcpy(mac, c->mac, 6);
    if (memcmp(mac, none, 6) != 0) {
        return;
    }
    uint64_t h = hash_host(FNV_BASIS);
    if (c->vm_name) {
        h = hash(h, c->vm_name, strlen(c->vm_name));
    }
    h = hash(h, &c->index, sizeof(c->index));
    h ^= h >> 32;
    mac[0] = 'R';
    mac[1] = '3';
    for (unsigned i = 0; i < 4; i++) {
        mac[2 + i] = (uint8_t)(h >> (8 * i));
    }
}
