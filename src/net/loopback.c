/* See loopback.h. */
#include "net/loopback.h"

#include <string.h>

#define TYPE_AT 12u
#define TYPE_IPV4 0x0800u
#define TYPE_IPV6 0x86ddu
#define IPV4_TO 30u /* of the destination, in a frame */
#define IPV6_TO 38u

static bool is_loopback_v4(const uint8_t to[4])
{
    return to[0] == 127 || to[0] == 0;
}

static bool is_loopback_v6(const uint8_t to[16])
{
    static const uint8_t zero[12], mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(to, zero, sizeof(zero)) == 0 ||
           (memcmp(to, mapped, sizeof(mapped)) == 0 && is_loopback_v4(to + 12));
}

bool net_to_loopback(const uint8_t *head, size_t len)
{
    if (len < IPV4_TO + 4) {
        return false; /* no IP packet at all */
    }
    unsigned type = (unsigned)head[TYPE_AT] << 8 | head[TYPE_AT + 1];
    return (type == TYPE_IPV4 && is_loopback_v4(head + IPV4_TO)) ||
           (type == TYPE_IPV6 && len >= IPV6_TO + 16 && is_loopback_v6(head + IPV6_TO));
}
