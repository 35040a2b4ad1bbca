/* libFuzzer over qcow2: any bytes as an image, through opening, random requests, a check and a
 * repair.
 *
 * The first bytes steer: whether the image may be written, whether the file goes on behind the
 * bytes (as a hole, up to 1 MB), and which requests are made. The rest is the image, with magic and
 * version set right; or it is changes to a sound one, four bytes each: where (two bytes, most of
 * them in the tables), what, and how. A check that finds nothing wrong promises that writing is
 * safe: then requests may fail only for lack of space, and a check afterwards must find nothing but
 * leaks.
 *
 * clang -fsanitize=fuzzer,address,undefined; single process, -max_len=65536, -rss_limit_mb=1024,
 * -timeout=10.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/qcow2_impl.h"

#define STEER 24u
#define REQUESTS 11u
#define FILE_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* ---- a file in memory; nothing is remembered across runs ---- */

static uint8_t bytes[FILE_MAX * 2];
static uint64_t used; /* the rest of it is zero */

static int memory_read(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t there = off < io->size ? min_u64(vec[i].len, io->size - off) : 0;
        memcpy(vec[i].base, bytes + (there ? off : 0), there);
        memset(vec[i].base + there, 0, vec[i].len - there);
        off += vec[i].len;
    }
    return 0;
}

static int memory_write(struct qcow2_io *io, uint64_t off, const struct io_vec *vec, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (off > sizeof(bytes) || vec[i].len > sizeof(bytes) - off) {
            return -28; /* ENOSPC */
        }
        memcpy(bytes + off, vec[i].base, vec[i].len);
        off += vec[i].len;
        used = max_u64(used, off);
        io->size = max_u64(io->size, off);
    }
    return 0;
}

static int memory_sync(struct qcow2_io *io)
{
    (void)io;
    return 0;
}

static void memory_discard(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    if (off < io->size) {
        memset(bytes + off, 0, min_u64(len, io->size - off));
    }
}

static bool memory_hole(struct qcow2_io *io, uint64_t off, uint64_t len)
{
    (void)len;
    return off >= io->size;
}

static uint64_t file_size;

static void memory_close(struct qcow2_io *io)
{
    file_size = io->size;
}

static const struct qcow2_io_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .sync = memory_sync,
    .discard = memory_discard,
    .hole = memory_hole,
    .close = memory_close,
};

static struct qcow2 *open_image(bool read_only, enum qcow2_purpose purpose)
{
    struct block_error err = {.text = ""};
    struct qcow2_file file = {.lock = {.note = -1}};
    const struct block_options o = {.read_only = read_only};
    struct qcow2 *q;
    file.io = (struct qcow2_io){.ops = &memory_ops, .fd = -1, .size = file_size, .grows = true};
    if (qcow2_open_image(&file, "fuzz", &o, purpose, &q, &err)) {
        require(err.text[0] && !strchr(err.text, '\n'));
        return NULL;
    }
    return q;
}

static bool check(bool fix, struct qcow2_check_result *result)
{
    struct block_error err;
    struct qcow2 *q = open_image(!fix, QCOW2_TO_CHECK);
    if (!q) {
        return false;
    }
    int rc = qcow2_check_open(q, fix, NULL, result, &err);
    qcow2_free(q);
    return rc == 0;
}

/* ---- requests ---- */

static int request(struct block *b, uint8_t what, uint8_t where)
{
    static uint8_t buf[96 * 1024];
    const uint64_t sectors = b->size / BLOCK_SECTOR;
    if (sectors == 0) {
        return 0;
    }
    uint64_t first =
        where < 128 ? (uint64_t)where * 3 : sectors - min_u64(sectors, (uint64_t)(where - 127) * 5);
    first = min_u64(first, sectors - 1);
    uint64_t count = min_u64(sectors - first, 1u + (what >> 3) * 6u), off = first * BLOCK_SECTOR,
             len = count * BLOCK_SECTOR;
    const struct io_vec vec = {.base = buf, .len = len};
    switch (what & 7) {
    case 0: return block_read(b, off, &vec, 1);
    case 1: return b->read_only ? 0 : block_discard(b, off, len);
    case 2: return b->read_only ? 0 : block_write_zeroes(b, off, len, what >> 7);
    case 3: return block_flush(b);
    case 4: require(block_zero_run(b, off, len) <= len); return 0;
    case 5:
        memset(buf, what, sizeof(buf));
        return b->read_only || ((struct qcow2 *)b)->cluster > sizeof(buf)
                   ? 0
                   : qcow2_write_compressed(b, align_down(off, ((struct qcow2 *)b)->cluster), buf);
    default: return b->read_only ? 0 : block_write(b, off, &vec, 1);
    }
}

/* ---- a sound image to change ---- */

static uint8_t base[FILE_MAX];
static uint64_t base_size;

/** Small clusters, two L2 tables, some of each kind of entry. */
static void make_base(void)
{
    static uint8_t buf[8192];
    const struct qcow2_create what = {.size = 60000 / 512 * 512, .cluster_bits = 9};
    const struct io_vec vec = {.base = buf, .len = sizeof(buf)};
    struct block_error err;
    int fd = memfd_create("base", MFD_CLOEXEC);
    require(fd >= 0 && qcow2_create(fd, "base", &what, &err) == 0);
    ssize_t len = pread(fd, bytes, sizeof(bytes), 0);
    require(len > 0);
    close(fd);
    file_size = used = (uint64_t)len;
    struct qcow2 *q = open_image(false, QCOW2_AS_DISK);
    require(q);
    for (unsigned i = 0; i < 12; i++) {
        memset(buf, (int)i, sizeof(buf));
        require(qcow2_write_compressed(&q->base, i * 512u, buf) == 0);
    }
    require(block_write(&q->base, 8192, &vec, 1) == 0 &&
            block_write(&q->base, 40960, &vec, 1) == 0);
    require(block_write_zeroes(&q->base, 9216, 2048, false) == 0 &&
            block_write_zeroes(&q->base, 41472, 1024, true) == 0);
    block_close(&q->base);
    memcpy(base, bytes, file_size);
    base_size = file_size;
}

static void change_base(const uint8_t *data, size_t size)
{
    memset(bytes, 0, used);
    memcpy(bytes, base, base_size);
    used = base_size;
    for (; size >= 4; data += 4, size -= 4) {
        uint64_t at = ((uint64_t)data[0] << 8 | data[1]) % (base_size - 8);
        switch (data[3] & 3) {
        case 0: bytes[at] = data[2]; break;
        case 1: bytes[at] ^= (uint8_t)(1u << (data[2] & 7)); break;
        case 2:
            store_be64(bytes + align_down(at, 8),
                       (uint64_t)data[2] << 9 | (data[3] & 4 ? ENTRY_COPIED : 0));
            break;
        default:
            store_be64(bytes + align_down(at, 8),
                       (uint64_t)(data[3] & 0xfc) << 56 | (uint64_t)data[2] << 9);
            break;
        }
    }
    file_size = base_size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_check_result before, after;
    if (size < STEER + 4 || size - STEER > FILE_MAX) {
        return 0;
    }
    if (base_size == 0) {
        make_base();
    }
    if (data[0] & 16) {
        change_base(data + STEER, size - STEER);
    } else {
        memset(bytes, 0, used);
        used = size - STEER;
        memcpy(bytes, data + STEER, size - STEER);
        memcpy(bytes, "QFI\373\0\0\0", 7);
        bytes[7] = data[0] & 1 ? 3 : 2;
        file_size = max_u64(size - STEER, data[0] & 2 ? (uint64_t)data[1] << 12 : 0);
    }
    bool sound = check(false, &before) && before.corruptions == 0;
    struct qcow2 *q = open_image(data[0] & 4, QCOW2_AS_DISK);
    for (unsigned i = 0; q && i < REQUESTS && 3 + i * 2 < STEER; i++) {
        int rc = request(&q->base, data[2 + i * 2], data[3 + i * 2]);
        require(rc <= 0);
    }
    if (q) {
        bool failed = q->corrupt || q->failed;
        block_close(&q->base);
        require(!sound || !failed);
        require(!sound || (check(false, &after) && after.corruptions == 0));
    }
    if (data[0] & 8 && check(true, &before) && before.corruptions == before.corruptions_fixed) {
        require(check(false, &after) && after.corruptions == 0);
    }
    return 0;
}
