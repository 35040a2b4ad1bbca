/* qcow2 images on fake disks, for the tests. */
#ifndef TESTS_UNIT_QCOW2_IMAGE_H
#define TESTS_UNIT_QCOW2_IMAGE_H

#include "disk_model.h"
#include "fake_file.h"

/** An empty image of so many bytes. */
void image_make(struct fake_file *d, uint64_t size, unsigned cluster_bits);
/** The same in an empty file, over that backing file (NULL: none; qcow2 if its name says so). */
void image_make_file(int fd, uint64_t size, unsigned cluster_bits, const char *backing);
/** Compressed clusters, each third one of an empty image: a new stamp of the model, then zeros. */
void image_pack(struct qcow2 *q, struct disk_model *m);
/** Open as a disk over `backed` sectors of the model's backing disk (0: none). Fails the test when
 * it cannot. */
struct qcow2 *image_open(struct fake_file *d, uint64_t backed, bool read_only);
/** The same without failing: the error, or NULL and *q. */
const char *image_try_open(struct fake_file *d, bool read_only, struct qcow2 **q);
/** Check (and repair); fails the test when there are corruptions, or leaks and they are not
 * allowed. */
void image_check(struct fake_file *d, bool leaks_allowed);
struct qcow2_check_result image_repair(struct fake_file *d, bool fix);
/** Keep what the image holds now as an internal snapshot. */
void image_snapshot(struct fake_file *d);
/** Open the first snapshot, read-only. */
struct qcow2 *image_open_snapshot(struct fake_file *d, uint64_t backed);

#endif
