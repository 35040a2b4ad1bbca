/* Answering a ping: ICMP echo (RFC 792), IPv4. Pure. */
#ifndef NET_ECHO_H
#define NET_ECHO_H

#include "base/types.h"

#define NET_ECHO_MAX 1514u /* bytes of a frame that is answered */

/** The answer to an Ethernet frame of len bytes if that is a whole echo request to the IPv4 address
 * `host` (in network order), with a sound checksum: its length, the frame's own, in
 * reply[NET_ECHO_MAX]; else 0. */
size_t net_echo(const uint8_t *frame, size_t len, uint32_t host, uint8_t *reply);

#endif
