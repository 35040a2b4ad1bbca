/* What a card left to others, done in software: checksums, and cutting large TCP frames.
 *
 * Frames come from guests: they are hostile, and nothing in them is believed that would lead
 * outside of them. A frame that is nonsense inside gives other nonsense. Headers have passed
 * virtio_net_check_header for a frame of that length.
 * Pure; any thread. RFC 1071 (checksums), RFC 9293 §3.1 (TCP), virtio 1.2 §5.1.6.2.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "dev/virtio/net.h"

#define OFFLOAD_MSS_MIN 48u /* below, a frame would cost out of all proportion */

/** One's complement sum of len bytes, added to `sum`, folded to 16 bits, as a number of the bytes'
 * order in memory. */
uint16_t offload_sum(const uint8_t *bytes, size_t len, uint32_t sum);

/** The checksum that belongs at hdr->csum_start + csum_offset of the frame. NEEDS_CSUM is set. */
uint16_t offload_checksum(const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr);

/** One frame out of a large one: vec[0] the virtio header, vec[1] Ethernet, IP and TCP headers,
 * vec[2] payload. Valid during the call. */
typedef void offload_emit(void *ctx, const struct io_vec vec[3]);

/** Cut a large TCP frame, in order. checksums: in full, with virtio headers of zeros; else left to
 * the receiver. Returns how many frames that gave; 0: it is not what hdr says, or gso_size is too
 * small. */
unsigned offload_segment(const uint8_t *frame, size_t len, const struct virtio_net_hdr *hdr,
                         bool checksums, offload_emit *emit, void *ctx);

#endif
