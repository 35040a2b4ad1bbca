/* Frames to the host's loopback interface: which a guest may send when it knows what is at the
 * other end. Pure.
 */
#ifndef NET_LOOPBACK_H
#define NET_LOOPBACK_H

#include "base/types.h"

#define LOOPBACK_HEAD 54u /* bytes of a frame that are looked at: Ethernet and IPv6 headers */

/** Whether an Ethernet frame that begins with head, len bytes of it (all, or LOOPBACK_HEAD at
 * least), is for an address that a socket of the host takes for the host's loopback: 127.0.0.0/8
 * and 0.0.0.0/8; ::/96, which holds ::1 and the unspecified address; the same IPv4 ones in IPv6's
 * mapped form (RFC 4291 §2.5.5). */
bool net_to_loopback(const uint8_t *head, size_t len);

#endif
