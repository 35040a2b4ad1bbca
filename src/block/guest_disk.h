/* A struct block as the virtio block device sees disks. */
#ifndef BLOCK_GUEST_DISK_H
#define BLOCK_GUEST_DISK_H

#include "block/block.h"
#include "dev/virtio/blk.h"

/** Fill *disk with functions that call b, which must live as long as the device. serial: o's, or
 * "". A request that fails is reported through b->report. */
void guest_disk(struct block *b, const char *serial, struct virtio_blk_disk *disk);

#endif
