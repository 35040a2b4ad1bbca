/* What a disk must hold, whatever happened: a model that writes to a disk and knows what may be
 * read.
 *
 * Each sector written gets a stamp of its own, so a sector that was torn, mixed up or taken from
 * elsewhere is seen. After a crash a sector may hold what was flushed last or anything written
 * since; without one, just what was written last. The model is one flat piece of memory: it may lie
 * in memory shared with a child that dies.
 */
#ifndef TESTS_UNIT_DISK_MODEL_H
#define TESTS_UNIT_DISK_MODEL_H

#include "block/block.h"

#define MODEL_PENDING 6u
#define MODEL_ANY 0xffffffffu  /* a stamp: the sector may hold anything (discarded) */
#define MODEL_BACKING 1000000u /* stamp of sector 0 of the backing disk, and so on */

struct model_sector {
    uint32_t now; /* 0: zeros */
    uint32_t flushed;
    uint32_t pending[MODEL_PENDING]; /* written since the flush; more of them: MODEL_ANY */
    uint32_t pending_count;
};

struct disk_model {
    uint64_t sectors;
    uint64_t random; /* state of the generator */
    uint32_t next_stamp;
    uint32_t step; /* for messages: what was done last */
    uint64_t flushes;
    int (*read)(struct block *b, uint64_t off, const struct io_vec *vec,
                unsigned n); /* how model_verify reads; NULL: block_read */
    struct model_sector sector[];
};

/** Bytes that a model of so many sectors takes. */
size_t model_size(uint64_t sectors);
/** All zeros, or (backed > 0) the first `backed` sectors as the backing disk has them. */
void model_init(struct disk_model *m, uint64_t sectors, uint64_t backed, uint64_t seed);
uint64_t model_random(struct disk_model *m, uint64_t below);
/** The bytes of a sector with that stamp. */
void model_fill(uint8_t *sector, uint32_t stamp);

/** One random request: write, zeros, discard, read or flush. 0 or the disk's error. */
int model_step(struct disk_model *m, struct block *b);
/** A random write within [first, first + count). 0 or the disk's error. */
int model_write(struct disk_model *m, struct block *b, uint64_t first, uint64_t count);
int model_flush(struct disk_model *m, struct block *b);

/** Read all of the disk. crashed: what was not flushed may be lost; the model then goes on with
 * what is there. 0, or the number of sectors that are wrong; the first is printed. */
unsigned model_verify(struct disk_model *m, struct block *b, bool crashed);

/** A read-only disk of so many sectors with the backing stamps. */
struct block *model_backing(uint64_t sectors);
/** Write the backing stamps to the first sectors of a disk. */
void model_write_backing(struct block *b, uint64_t sectors);

#endif
