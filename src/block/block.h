/* Virtual disks: one contract over files, formats, networks, and disks made of disks.
 *
 *   virtio/blk.c ─> throttle ─> { raw | qcow2 | nbd | concat | stripe | mirror } ─> files, helpers,
 *                                                                                   further disks
 *
 * All calls are synchronous and come from one thread, the device's; locate and flush_files let it
 * hand what is slow, the reading and syncing of files, to others. Everything is opened before the
 * machine starts: afterwards the process may open no files. Offsets and lengths are bytes; callers
 * keep within `size` (BUG_ON) and to multiples of BLOCK_SECTOR.
 *
 * Promise: what was written before a flush that returned 0 is on stable storage and survives any
 * crash of ring3 or of the host. Errors are negative errno; what a failed write left is unspecified
 * within its range, and untouched outside it.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "dev/virtio/virtq.h" /* struct io_vec */

#define BLOCK_SECTOR 512u
#define BLOCK_NAME_MAX 128u
#define BLOCK_VECS_MAX VIRTQ_SEGMENTS_MAX /* vectors a request may have */

#define BLOCK_RUNS_MAX 16u                    /* runs of a read worth asking for */
#define BLOCK_FILES_MAX 64u                   /* files of a flush */

struct block;

/** Bytes of a disk that lie in a row in a file of the host. */
struct block_run {
    int fd; /* the disk's; -1: they read as zeros */
    uint64_t at, len;
};

struct block_ops {
    const char *format; /* "raw", "qcow2", ... */
    int (*read)(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len);
    int (*write)(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len);
    int (*flush)(struct block *b);
    /** The bytes may be anything afterwards; frees space where it can. NULL: nothing happens, which
     * is right too. */
    int (*discard)(struct block *b, uint64_t off, uint64_t len);
    /** The bytes read as zero afterwards; `unmap`: space may be freed. NULL: zeros are written. */
    int (*write_zeroes)(struct block *b, uint64_t off, uint64_t len, bool unmap);
    /** How many bytes from off on, at most len, are known to read as zeros without reading them.
     * NULL: none. */
    uint64_t (*zero_run)(struct block *b, uint64_t off, uint64_t len);
    /** Where the bytes of a read lie, in order, for the caller to read them there. It counts as the
     * read for limits. Returns how many runs, at most max; 0: that is not to be told, call read.
     * What is written or discarded before they are read may read as any bytes of the disk's files.
     * NULL: never told. */
    unsigned (*locate)(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                       unsigned max);
    /** A flush in two halves. The first tells the files that the caller is to sync (fdatasync), at
     * most max; 0: call flush. The second is told what came of that, and returns what the flush
     * does. One flush at a time; other calls may come between the halves. NULL: neither. */
    unsigned (*flush_files)(struct block *b, int *fd, unsigned max);
    int (*flush_end)(struct block *b, int err);
    /** Host time (CLOCK_MONOTONIC, ns) from which on the next request is welcome. NULL: always. */
    uint64_t (*ready_ns)(struct block *b);
    /** Flush, then free everything. */
    void (*close)(struct block *b);
};

/** Every kind embeds this as its first member. */
struct block {
    const struct block_ops *ops;
    uint64_t size; /* bytes, a multiple of BLOCK_SECTOR */
    bool read_only;
    uint32_t optimal;          /* preferred I/O size in bytes, 0: any */
    char name[BLOCK_NAME_MAX]; /* as the user named it, for messages */
    /** Something people should know: a mirror lost a leg. block_open sets it from the options; may
     * be NULL. Called from the device's thread, and from block_open. */
    void (*report)(void *ctx, const char *line);
    void *report_ctx;
};

struct block_error {
    char text[512]; /* one line: what is wrong, where, what to do */
    bool gone;      /* no such file, no connection: a mirror can do without it */
    bool busy;      /* another program or machine is using it */
};

/** What `-d` says besides the file: FILE[,ro][,format=F][,serial=S][,iops=N][,bps=N][,backing]. */
struct block_options {
    bool read_only;
    bool allow_backing;  /* qcow2 backing files are opened only when asked for */
    bool allow_leg;      /* a leg of a mirror may be opened for writing by itself: rebuilding it */
    const char *format;  /* "raw", "qcow2"; NULL: qcow2 if the name ends in .qcow2, else raw */
    char serial[21];     /* up to 20 characters */
    uint64_t iops, bps;  /* 0: no limit */
    const char *vm_name; /* who holds the lock, for the other's message; NULL: a tool */
    /** Becomes the disk's, and that of the legs of composites; may be NULL. */
    void (*report)(void *ctx, const char *line);
    void *report_ctx;
};

/** Parse the argument of -d. *spec (malloc'd) is then what comes before the options. *o keeps what
 * arg does not say (vm_name, report). 0, or -1 with *err. Commas in names are doubled. */
int block_parse(const char *arg, char **spec, struct block_options *o,
                struct block_error *err) MUST_CHECK;
/** Open what spec names: a path, nbd://..., nbd+unix://..., concat:A,B, stripe:64K:A,B, mirror:A,B;
 * takes the locks, sets limits. Commas in names are doubled; a leg that is itself made of others
 * stands in brackets: mirror:[concat:A,B],C. 0, or -1 with *err. */
int block_open(const char *spec, const struct block_options *o, struct block **out,
               struct block_error *err) MUST_CHECK;

/* ---- what devices and tools call ---- */

int block_read(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n) MUST_CHECK;
int block_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n) MUST_CHECK;
int block_flush(struct block *b) MUST_CHECK;
int block_discard(struct block *b, uint64_t off, uint64_t len) MUST_CHECK;
int block_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap) MUST_CHECK;
uint64_t block_zero_run(struct block *b, uint64_t off, uint64_t len) MUST_CHECK;
uint64_t block_ready_ns(struct block *b) MUST_CHECK;
/** The first returns 0 where block_read is to be called, the second where block_flush is. */
unsigned block_locate(struct block *b, uint64_t off, uint64_t len, struct block_run *run,
                      unsigned max) MUST_CHECK;
unsigned block_flush_files(struct block *b, int *fd, unsigned max) MUST_CHECK;
int block_flush_end(struct block *b, int err) MUST_CHECK;
/** Read runs, which vec is as long as; `wait` false: only what the host has in memory. From any
 * thread. 0, -EAGAIN (not all is in memory), or -errno; a file that has become shorter is -EIO. */
int block_read_runs(const struct block_run *run, unsigned count, const struct io_vec *vec,
                    unsigned n, bool wait) MUST_CHECK;
/** Sync all files, also when one fails; from any thread. 0 or -errno, of the last that failed. */
int block_sync_files(const int *fd, unsigned count) MUST_CHECK;
void block_close(struct block *b);

/* ---- the kinds; each opens one. All: 0, or -1 with *err and nothing left open ---- */

int raw_open(const char *path, const struct block_options *o, struct block **out,
             struct block_error *err) MUST_CHECK;
int qcow2_open(const char *path, const struct block_options *o, struct block **out,
               struct block_error *err) MUST_CHECK;
int nbd_open(const char *uri, const struct block_options *o, struct block **out,
             struct block_error *err) MUST_CHECK;
/** These own the legs from then on, also on failure. */
int concat_open(struct block **legs, unsigned count, struct block **out,
                struct block_error *err) MUST_CHECK;
int stripe_open(struct block **legs, unsigned count, uint64_t stripe, struct block **out,
                struct block_error *err) MUST_CHECK;
/** mirror.h says more. */
int mirror_open(struct block **legs, unsigned count, const struct block_options *o,
                struct block **out, struct block_error *err) MUST_CHECK;
/** Slows b down to iops requests and bps bytes a second (0: no limit), with bursts of a tenth of a
 * second. It never sleeps: ready_ns says when the next request should come, and the device waits
 * for that. Owns b, also on failure. */
int throttle_open(struct block *b, uint64_t iops, uint64_t bps, struct block **out,
                  struct block_error *err) MUST_CHECK;

#endif
