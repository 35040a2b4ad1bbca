/* See echo.h. The request becomes the answer: addresses exchanged, type changed, sums corrected. */
#include "net/echo.h"

#include "net/offload.h"

#include <string.h>

#define ETHERNET_LEN 14u
#define IPV4_LEN 20u
#define ICMP_LEN 8u

static void exchange(uint8_t *a, uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

static bool is_request(const uint8_t *frame, size_t len, uint32_t host, size_t ip_len)
{
    const uint8_t *ip = frame + ETHERNET_LEN, *icmp = ip + IPV4_LEN;
    bool fragment = (ip[6] & 0x3f) || ip[7];
    return frame[12] == 8 && frame[13] == 0 && ip[0] == 0x45 && !fragment && ip[9] == 1 &&
           memcmp(ip + 16, &host, sizeof(host)) == 0 && ip_len >= IPV4_LEN + ICMP_LEN &&
           ip_len <= len - ETHERNET_LEN && icmp[0] == 8 && icmp[1] == 0 &&
           offload_sum(icmp, ip_len - IPV4_LEN, 0) == 0xffff;
}

size_t net_echo(const uint8_t *frame, size_t len, uint32_t host, uint8_t *reply)
{
    if (len < ETHERNET_LEN + IPV4_LEN + ICMP_LEN || len > NET_ECHO_MAX) {
        return 0;
    }
    size_t ip_len = (size_t)frame[16] << 8 | frame[17];
    if (!is_request(frame, len, host, ip_len)) {
        return 0;
    }
    memcpy(reply, frame, len);
    uint8_t *ip = reply + ETHERNET_LEN, *icmp = ip + IPV4_LEN;
    exchange(reply, reply + 6, 6);
    exchange(ip + 12, ip + 16, 4); /* the header's sum stays as it is */
    icmp[0] = 0;
    memset(icmp + 2, 0, 2);
    uint16_t sum = (uint16_t)~offload_sum(icmp, ip_len - IPV4_LEN, 0);
    memcpy(icmp + 2, &sum, sizeof(sum));
    return len;
}
