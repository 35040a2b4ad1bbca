/* The parts of an open qcow2 image, and what its files call of each other.
 *
 *   qcow2.c           reading, flushing; cuts requests   qcow2_write.c    writing, discards, zeros
 *   qcow2_open.c      opening, closing                   qcow2_header.c   reading the header
 *   qcow2_tables.c    tables read when opening           qcow2_backing.c  the file below
 *   qcow2_map.c       where a guest cluster is: L1, L2   qcow2_cache.c    pages of tables
 *   qcow2_refcount.c  refcounts, blocks, their table     qcow2_alloc.c    finding, freeing clusters
 *   qcow2_commit.c    what reaches the disk, and when    qcow2_set.c      a set of clusters
 *   qcow2_compress.c  packed clusters                    qcow2_io.c       the file
 *   qcow2_check.c, qcow2_compare.c, qcow2_refs.c         references against counts
 *   qcow2_snapshot.c  snapshot table, bitmaps            qcow2_create.c   new images
 *
 * Order of writes. Data goes to the file at once; metadata changes stay in memory until a commit (a
 * flush, or too many of them). At any moment the file's tables therefore describe the state of the
 * last commit, and nothing they refer to is written over but by guest data in its own place.
 * qcow2_commit.c brings them to the next state so that any subset of the writes between two
 * barriers may be lost. That rests on two rules kept elsewhere: a count goes up in memory before
 * anything refers to the cluster, and goes down (and the cluster becomes free again) only after the
 * commit that removed the reference.
 *
 * Every number from the file is hostile: the header is checked when it is read, table entries
 * whenever they are used. An entry that cannot be marks the image corrupt: writes then fail, what
 * can still be read can be read.
 * Threads: one, as block.h says.
 */
#ifndef BLOCK_QCOW2_IMPL_H
#define BLOCK_QCOW2_IMPL_H

#include "base/log.h"
#include "block/impl.h"
#include "block/lock.h"
#include "block/qcow2_format.h"

/* ---- the file below: qcow2_io.c ---- */

struct qcow2_io;

struct qcow2_io_ops {
    /** What lies beyond the end reads as zero. 0 or -errno. */
    int (*read)(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n);
    /** All of it, or -errno. n <= QCOW2_IOV_MAX. */
    int (*write)(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n);
    /** Everything written so far is on stable storage. 0 or -errno. */
    int (*sync)(struct qcow2_io *io);
    /** The bytes may be anything from now on; a hint. */
    void (*discard)(struct qcow2_io *io, uint64_t off, uint64_t len);
    /** Whether [off, off+len) surely reads as zero, without reading it. */
    bool (*hole)(struct qcow2_io *io, uint64_t off, uint64_t len);
    void (*close)(struct qcow2_io *io);
};

#define QCOW2_IOV_MAX 258u

struct qcow2_io {
    const struct qcow2_io_ops *ops;
    int fd;
    uint64_t size; /* bytes; grows with writes */
    bool grows;    /* false: a device, size is all there is */
    void *ctx;     /* for other implementations: tests */
};

/** An io over fd, which it owns from then on. 0 or -errno; then fd is still the caller's. */
int qcow2_io_init(struct qcow2_io *io, int fd) MUST_CHECK;
/** The file, for others to read; -1: there is none (tests). */
int qcow2_io_fd(const struct qcow2_io *io);
int qcow2_io_read(struct qcow2_io *io, uint64_t off, void *buf, size_t len) MUST_CHECK;
int qcow2_io_write(struct qcow2_io *io, uint64_t off, const void *buf, size_t len) MUST_CHECK;
/** Write zeros. */
int qcow2_io_zero(struct qcow2_io *io, uint64_t off, uint64_t len) MUST_CHECK;

/** A place in a list of vectors. */
struct vec_at {
    const struct io_vec *vec;
    unsigned n;
    size_t skip; /* bytes of vec[0] already used */
};

/** Take the next len bytes, at most max pieces; returns how many pieces, *got bytes. */
unsigned vec_take(struct vec_at *at, uint64_t len, struct io_vec *out, unsigned max, uint64_t *got);
void vec_zero(struct vec_at *at, uint64_t len);
void vec_put(struct vec_at *at, const uint8_t *from, uint64_t len);

/* ---- a set of cluster numbers: qcow2_set.c ---- */

struct cluster_set {
    uint64_t *slot; /* number + 1, 0: empty */
    size_t size;    /* slots, a power of two or 0 */
    size_t count;
};

/** 1: it was there already; 0: added; -ENOMEM. */
int cluster_set_add(struct cluster_set *s, uint64_t cluster) MUST_CHECK;
bool cluster_set_has(const struct cluster_set *s, uint64_t cluster);
void cluster_set_remove(struct cluster_set *s, uint64_t cluster);
void cluster_set_fini(struct cluster_set *s);

/* ---- pages of tables: qcow2_cache.c ---- */

enum page_kind { PAGE_L2, PAGE_REFCOUNT };

struct qcow2_page {
    struct qcow2_page *next, *prev; /* in the list of clean pages, oldest first, or of dirty ones */
    struct qcow2_page *chain;       /* in its hash bucket */
    uint64_t off;                   /* in the file */
    uint32_t l1_index;              /* PAGE_L2: whose table */
    uint8_t kind;
    bool dirty;
    uint8_t *bytes; /* behind this */
};

struct qcow2_cache {
    struct qcow2_page clean, dirty; /* heads of the lists */
    struct qcow2_page **bucket;
    size_t buckets; /* a power of two */
    size_t pages, dirty_pages, limit;
    uint32_t page_size; /* bytes, a power of two, at most a cluster */
};

/* ---- an open image ---- */

/** A file that is open and locked. */
struct qcow2_file {
    struct qcow2_io io;
    struct image_lock lock; /* note -1: not locked */
};

/** A run of clusters with one reference less, once nothing in the file refers to them. */
struct pending_free {
    uint64_t first, count;
    bool metadata; /* leaves the set of metadata clusters too */
};

struct refcount_hooks;

struct qcow2 {
    struct block base;
    struct qcow2_file file;
    struct qcow2_header h;
    uint8_t header_sector[512]; /* as in the file */
    uint64_t cluster;           /* bytes */
    unsigned l2_bits;           /* log2 of entries per L2 table */

    uint64_t *l1;      /* l1_count entries, host order; as the next commit writes them */
    uint32_t l1_count; /* what the disk's size needs */
    uint8_t *l1_dirty; /* a bit per entry: the file has an older one */
    uint8_t *l1_new;   /* a bit per entry: the file surely does not refer to this table yet */
    bool l1_any_dirty;

    uint64_t *reftable; /* host order; entries of a damaged image may be anything */
    uint64_t reftable_count;
    uint8_t *reftable_dirty; /* a bit per 64 entries */
    bool reftable_any_dirty;
    bool reftable_moved; /* the header in the file still names the old one */
    uint64_t refblock_entries;

    struct qcow2_cache cache;
    struct cluster_set metadata; /* header, L1, active L2, refcount structures, snapshot table; open
                                    for writing only */
    struct pending_free *pending;
    size_t pending_count, pending_size;

    uint64_t free_hint;  /* no free cluster lies below */
    uint64_t fresh_from; /* clusters from here on were never in the file: they read as zero */
    uint64_t area_from;  /* repair: clusters from here on are surely free; else 0 */
    const struct refcount_hooks *hooks; /* repair; else NULL */
    void *hooks_ctx;

    struct block *backing; /* NULL: none */
    uint8_t *edge[2];  /* a cluster each: what a write leaves of the first and the last cluster */
    uint8_t *packed;   /* two clusters: compressed data; NULL until needed */
    uint8_t *unpacked; /* a cluster: the one at unpacked_at; NULL until needed */
    uint64_t unpacked_at; /* L2 entry, 0: none */
    uint64_t packed_next; /* where the next compressed cluster may go; 0: a new cluster */

    bool check;     /* opened to be checked: damage is tolerated */
    bool overlaps;  /* found while opening: tables lie over each other */
    bool misplaced; /* found while opening: a table is where none can be */
    bool writing;   /* the header says so: auto-clear features are off */
    bool corrupt;   /* no more writes */
    int failed;     /* -errno of a failed barrier: what is on the disk is unknown; 0: none */
};

/** A repair knows better than the counts what is in use. */
struct refcount_hooks {
    bool (*taken)(void *ctx, uint64_t cluster); /* something refers to it */
    int (*placed)(void *ctx, uint64_t cluster); /* a refcount structure is there now. 0 or -errno */
};

/** How an image is opened. */
enum qcow2_purpose { QCOW2_AS_DISK, QCOW2_TO_CHECK };

/** Open and lock the file of an image. o: read_only, vm_name. 0, or -1 with *err. */
int qcow2_open_file(const char *path, const struct block_options *o, struct qcow2_file *file,
                    struct block_error *err) MUST_CHECK;
/** Open the image in a file, which q owns from then on, also on failure. path: for messages, and
 * where the backing file is looked for. 0, or -1 with *err. */
int qcow2_open_image(const struct qcow2_file *file, const char *path, const struct block_options *o,
                     enum qcow2_purpose purpose, struct qcow2 **out,
                     struct block_error *err) MUST_CHECK;
/** The parts of that: the tables that `purpose` needs (0 or -errno), the backing file, an image
 * `depth` steps down a chain. */
int qcow2_load_tables(struct qcow2 *q) MUST_CHECK;
int qcow2_open_backing(struct qcow2 *q, const char *path, const struct block_options *o,
                       unsigned depth, struct block_error *err) MUST_CHECK;
int qcow2_open_depth(const char *path, const struct block_options *o, unsigned depth,
                     struct block **out, struct block_error *err) MUST_CHECK;
/** A disk's close without the flush: tests, and images that are given up. */
void qcow2_free(struct qcow2 *q);

static inline uint64_t cluster_of(const struct qcow2 *q, uint64_t off)
{
    return off >> q->h.cluster_bits;
}

static inline uint64_t offset_of(const struct qcow2 *q, uint64_t cluster)
{
    return cluster << q->h.cluster_bits;
}

extern const struct block_ops qcow2_ops; /* qcow2.c */

/** Note that the image is damaged, tell once, and refuse writes from now on. Returns -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Set and clear bits of a feature field of the header (HEADER_INCOMPATIBLE, HEADER_AUTOCLEAR) and
 * bring that to stable storage. */
int qcow2_set_features(struct qcow2 *q, unsigned field, uint64_t set, uint64_t clear) MUST_CHECK;
/** Read the logical bytes [off, off+len) into buf. */
int qcow2_read_bytes(struct qcow2 *q, uint64_t off, uint8_t *buf, uint64_t len) MUST_CHECK;

/* qcow2_cache.c */
int qcache_init(struct qcow2_cache *c, uint32_t page_size) MUST_CHECK;
void qcache_fini(struct qcow2_cache *c);
/** The page that holds the byte `off` of the file. Valid for the next dozens of calls. 0 or -errno.
 */
int qcache_get(struct qcow2 *q, enum page_kind kind, uint64_t off,
               struct qcow2_page **out) MUST_CHECK;
void qcache_mark_dirty(struct qcow2_cache *c, struct qcow2_page *p);
void qcache_mark_clean(struct qcow2_cache *c, struct qcow2_page *p);
/** Forget the pages of a cluster: it gets new contents. */
void qcache_drop(struct qcow2 *q, uint64_t cluster);
/** So many pages are dirty that a commit is due. */
bool qcache_is_full(const struct qcow2_cache *c);

/* qcow2_map.c */
/** The L2 entry of a guest cluster, 0 when there is no table. */
int map_get(struct qcow2 *q, uint64_t guest, uint64_t *entry) MUST_CHECK;
/** The same for `*count` clusters from guest on; *count is cut to what one page of a table holds.
 */
int map_get_run(struct qcow2 *q, uint64_t guest, uint64_t *entries, unsigned *count) MUST_CHECK;
/** Make the L2 table of a guest cluster ours to change: allocated, with one reference. */
int map_prepare(struct qcow2 *q, uint64_t guest) MUST_CHECK;
/** Set an entry; after map_prepare. */
int map_set(struct qcow2 *q, uint64_t guest, uint64_t entry) MUST_CHECK;
/** Whether the guest cluster has an L2 table at all. */
bool map_has_table(const struct qcow2 *q, uint64_t guest);
void map_set_l1(struct qcow2 *q, uint32_t index, uint64_t entry);

enum cluster_kind {
    CLUSTER_BACKING, /* reads from the backing file, or as zero */
    CLUSTER_ZERO,
    CLUSTER_DATA,
    CLUSTER_COMPRESSED,
    CLUSTER_BAD, /* no valid entry */
};

/** What an L2 entry means. *host is the offset in the file: of CLUSTER_DATA, of CLUSTER_ZERO when
 * it has space of its own (else 0), of CLUSTER_COMPRESSED. */
enum cluster_kind entry_kind(const struct qcow2 *q, uint64_t entry, uint64_t *host);
/** Bytes of a compressed cluster in the file, at most. */
uint64_t entry_packed_size(const struct qcow2 *q, uint64_t entry);

/* qcow2_refcount.c */
int refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count) MUST_CHECK;
/** Also makes the refcount block. -EOVERFLOW: the field is too narrow. */
int refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count) MUST_CHECK;
uint64_t refcount_max(const struct qcow2 *q);
/** Make the block that holds this cluster's count; afterwards it exists. It may take the cluster
 * itself. */
int refcount_make_block(struct qcow2 *q, uint64_t cluster) MUST_CHECK;
/** Change entry i of the refcount table. */
void refcount_set_block(struct qcow2 *q, uint64_t i, uint64_t off);
/** Where block number i of the refcount table is in the file; 0: there is none, or none that can
 * be. */
uint64_t refcount_block_offset(const struct qcow2 *q, uint64_t i);
/** The page with a cluster's count, and which number of it that is; *out NULL: no block. */
int refcount_page(struct qcow2 *q, uint64_t cluster, struct qcow2_page **out,
                  uint64_t *index) MUST_CHECK;
/** Number `i` of a block's bytes. */
uint64_t refcount_load(const uint8_t *block, uint64_t i, unsigned order);
void refcount_store(uint8_t *block, uint64_t i, unsigned order, uint64_t count);
/** First and last cluster that an L2 entry refers to; false: none. */
bool entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *first, uint64_t *last);

/* qcow2_alloc.c */
/** Up to `want` free clusters in a row, with a count of one now. 0, *first and *got >= 1; or
 * -errno. */
int alloc_clusters(struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *got) MUST_CHECK;
/** One cluster for a table, reading as zero, in the set of metadata. */
int alloc_table(struct qcow2 *q, uint64_t *cluster) MUST_CHECK;
/** Whether the cluster is free and the caller may have it. 1, 0 or -errno. */
int alloc_is_free(struct qcow2 *q, uint64_t cluster) MUST_CHECK;
/** Whether the clusters were never in the file and so read as zero; from now on they count as used.
 */
bool alloc_take_fresh(struct qcow2 *q, uint64_t first, uint64_t count);
/** Whether the file may have these clusters. 0, -ENOSPC or -EFBIG. */
int alloc_check_range(const struct qcow2 *q, uint64_t first, uint64_t count) MUST_CHECK;
/** Make sure of room for n more runs of frees. 0 or -ENOMEM. */
int free_reserve(struct qcow2 *q, size_t n) MUST_CHECK;
/** Take away one reference of each cluster of the run at the next commit; after free_reserve. */
void free_later(struct qcow2 *q, uint64_t first, uint64_t count, bool metadata);
/** Take the references away: nothing in the file holds them any more. 0 or -errno (the rest is
 * leaked). */
int free_now(struct qcow2 *q) MUST_CHECK;
/** A cluster that reads as zero from now on; its pages are forgotten. */
int cluster_clear(struct qcow2 *q, uint64_t cluster) MUST_CHECK;

/* qcow2_commit.c */
/** Bring all changes of tables to the disk: then they are on stable storage, and all data with
 * them. 0 or -errno. */
int qcow2_commit(struct qcow2 *q) MUST_CHECK;
/** Commit when many changes wait. At the beginning of a step only. */
int qcow2_commit_if_full(struct qcow2 *q) MUST_CHECK;
/** Before the first change: the header says that the image changes. 0 or -errno (-EROFS, -EIO). */
int qcow2_begin_write(struct qcow2 *q) MUST_CHECK;

/* qcow2_write.c */
int qcow2_write(struct block *b, uint64_t off, const struct io_vec *vec, unsigned n, uint64_t len);
int qcow2_discard(struct block *b, uint64_t off, uint64_t len);
int qcow2_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool unmap);

/* qcow2_compress.c */
/** Unpack the cluster behind a compressed entry: q->unpacked. */
int qcow2_unpack(struct qcow2 *q, uint64_t entry) MUST_CHECK;

/* qcow2_snapshot.c */
struct qcow2_snapshot {
    uint64_t l1_offset; /* as it stands there: may be anything */
    uint32_t l1_size;
    char name[64]; /* for messages */
};
/** Call fn for each snapshot; *end is where the table ends. fn's first non-zero return ends it and
 * is returned. -EIO: the table is damaged. */
int snapshots_each(struct qcow2 *q, int (*fn)(void *ctx, const struct qcow2_snapshot *s), void *ctx,
                   uint64_t *end) MUST_CHECK;
/** Call fn for each region that the bitmaps extension refers to. The same returns. */
int bitmaps_each(struct qcow2 *q, int (*fn)(void *ctx, uint64_t off, uint64_t len),
                 void *ctx) MUST_CHECK;

/* qcow2_check.c */
int qcow2_check_open(struct qcow2 *q, bool fix, const struct qcow2_check_sink *sink,
                     struct qcow2_check_result *result, struct block_error *err) MUST_CHECK;

#endif
