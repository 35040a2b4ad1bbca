/* A file below a qcow2 image that can lose power: it remembers what was written since the last
 * barrier. */
#ifndef TESTS_UNIT_FAKE_FILE_H
#define TESTS_UNIT_FAKE_FILE_H

#include "block/qcow2_impl.h"

#define FAKE_FILE_MAX (64u << 20)

struct fake_write {
    uint64_t off;
    uint32_t len;
    uint32_t at; /* in fake_file.data; UINT32_MAX: zeros (a hole) */
};

struct fake_file {
    uint8_t *now, *stable; /* FAKE_FILE_MAX bytes each */
    uint64_t size, stable_size;
    struct fake_write *log; /* since the last barrier */
    size_t log_count, log_room;
    uint8_t *data;
    size_t data_len, data_room;
    uint64_t writes, syncs;
    uint64_t fail_write, fail_sync; /* this one (counted from 1) fails with -EIO; 0: none */
    uint64_t room;                  /* writes beyond fail with -ENOSPC; 0: no limit */
};

void fake_file_init(struct fake_file *d);
void fake_file_fini(struct fake_file *d);
/** Take over the bytes of a file. */
void fake_file_load(struct fake_file *d, int fd);
/** The file below an image; closing it leaves d as it is. */
struct qcow2_file fake_file_file(struct fake_file *d);
/** Power fails: of the sectors written since the last barrier each is there with a chance of `keep`
 * in 256. random: a generator. */
void fake_file_crash(struct fake_file *d, unsigned keep, uint64_t (*random)(void *ctx), void *ctx);

#endif
