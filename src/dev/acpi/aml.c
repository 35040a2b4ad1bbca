/* See aml.h. */
#include "dev/acpi/aml.h"

#include "base/log.h"
#include "base/string.h"

enum {
    OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c,
    OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12,
    OP_METHOD = 0x14, OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82, OP_NOTIFY = 0x86,
};

enum {
    RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32 = 0x86, RES_DWORD_SPACE = 0x87,
    RES_WORD_SPACE = 0x88, RES_INTERRUPT = 0x89,
};

enum { SPACE_MEMORY = 0, SPACE_BUS = 2, SPACE_FIXED = 0x0c /* MinFixed, MaxFixed, producer */ };

#define NAME_LEN 4u

static void emit(struct aml *a, uint64_t value, unsigned bytes)
{
    if (a->cap - a->len < bytes) {
        a->full = true;
        return;
    }
    for (unsigned i = 0; i < bytes; i++) {
        a->buf[a->len++] = (uint8_t)(value >> (8 * i));
    }
}

/** Move what was emitted since `at` up by n bytes and put `bytes` in the gap. */
static void insert(struct aml *a, uint32_t at, const uint8_t *bytes, uint32_t n)
{
    if (a->cap - a->len < n) {
        a->full = true;
        return;
    }
    memmove(a->buf + at + n, a->buf + at, a->len - at);
    memcpy(a->buf + at, bytes, n);
    a->len += n;
}

/* ---- data ---- */

/** How an integer is written: its shortest form. Returns the length. */
static unsigned encode_integer(uint64_t value, uint8_t out[9])
{
    unsigned n = value <= 1 ? 0 : 1;
    while (n && n < 8 && value >> (8 * n)) {
        n *= 2;
    }
    static const uint8_t prefix[] = {[1] = OP_BYTE, [2] = OP_WORD, [4] = OP_DWORD, [8] = OP_QWORD};
    out[0] = n ? prefix[n] : value ? OP_ONE : OP_ZERO;
    for (unsigned i = 0; i < n; i++) {
        out[1 + i] = (uint8_t)(value >> (8 * i));
    }
    return 1 + n;
}

void aml_integer(struct aml *a, uint64_t value)
{
    uint8_t code[9];
    unsigned n = encode_integer(value, code);
    insert(a, a->len, code, n);
}

void aml_string(struct aml *a, const char *s)
{
    emit(a, OP_STRING, 1);
    do {
        emit(a, (uint8_t)*s, 1);
    } while (*s++);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

void aml_eisa_id(struct aml *a, const char *id)
{
    unsigned maker = ((unsigned)(id[0] - '@') & 31) << 10 | ((unsigned)(id[1] - '@') & 31) << 5 |
                     ((unsigned)(id[2] - '@') & 31);
    unsigned product = hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 |
                       hex_digit(id[6]);
    emit(a, OP_DWORD, 1); /* both halves are big-endian */
    emit(a, maker >> 8, 1);
    emit(a, maker, 1);
    emit(a, product >> 8, 1);
    emit(a, product, 1);
}

/* ---- names and blocks ---- */

static void emit_seg(struct aml *a, const char *name)
{
    BUG_ON(strlen(name) != NAME_LEN);
    for (size_t i = 0; i < NAME_LEN; i++) {
        emit(a, (uint8_t)name[i], 1);
    }
}

void aml_name(struct aml *a, const char *name)
{
    emit(a, OP_NAME, 1);
    emit_seg(a, name);
}

void aml_name_integer(struct aml *a, const char *name, uint64_t value)
{
    aml_name(a, name);
    aml_integer(a, value);
}

uint32_t aml_scope(struct aml *a, const char *name)
{
    emit(a, OP_SCOPE, 1);
    uint32_t mark = a->len;
    emit_seg(a, name);
    return mark;
}

uint32_t aml_device(struct aml *a, const char *name)
{
    emit(a, OP_EXT, 1);
    emit(a, OP_EXT_DEVICE, 1);
    uint32_t mark = a->len;
    emit_seg(a, name);
    return mark;
}

uint32_t aml_method(struct aml *a, const char *name, unsigned args, bool serialized)
{
    emit(a, OP_METHOD, 1);
    uint32_t mark = a->len;
    emit_seg(a, name);
    emit(a, args | (serialized ? 8u : 0u), 1);
    return mark;
}

uint32_t aml_package(struct aml *a, unsigned elements)
{
    emit(a, OP_PACKAGE, 1);
    uint32_t mark = a->len;
    emit(a, elements, 1);
    return mark;
}

/** PkgLength counts itself: one byte up to 63; else 4 bits and one to three bytes more. */
void aml_end(struct aml *a, uint32_t mark)
{
    uint32_t body = a->len - mark;
    unsigned n = body + 1 <= 63 ? 1 : body + 2 <= 0xfff ? 2 : body + 3 <= 0xfffff ? 3 : 4;
    uint32_t total = body + n;
    uint8_t code[4];
    code[0] = (uint8_t)(n == 1 ? total : ((n - 1) << 6 | (total & 15)));
    for (unsigned i = 1; i < n; i++) {
        code[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
    }
    insert(a, mark, code, n);
}

void aml_notify(struct aml *a, const char *name, unsigned value)
{
    emit(a, OP_NOTIFY, 1);
    emit_seg(a, name);
    aml_integer(a, value);
}

/* ---- resource templates: a Buffer whose bytes are descriptors ---- */

uint32_t aml_resources(struct aml *a)
{
    emit(a, OP_BUFFER, 1);
    return a->len;
}

void aml_resources_end(struct aml *a, uint32_t mark)
{
    emit(a, RES_END, 1);
    emit(a, 0, 1); /* no checksum */
    uint8_t size[9];
    unsigned n = encode_integer(a->len - mark, size);
    insert(a, mark, size, n);
    aml_end(a, mark);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
    emit(a, RES_IO, 1);
    emit(a, 1, 1); /* decodes 16 bits */
    emit(a, port, 2);
    emit(a, port, 2);
    emit(a, 0, 1);
    emit(a, len, 1);
}

void aml_res_interrupt(struct aml *a, uint32_t gsi)
{
    emit(a, RES_INTERRUPT, 1);
    emit(a, 6, 2);
    emit(a, 3, 1); /* consumer, edge, active high, exclusive */
    emit(a, 1, 1);
    emit(a, gsi, 4);
}

void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len)
{
    emit(a, RES_MEMORY32, 1);
    emit(a, 9, 2);
    emit(a, 1, 1); /* read/write */
    emit(a, base, 4);
    emit(a, len, 4);
}

void aml_res_memory_window(struct aml *a, uint32_t base, uint32_t len)
{
    emit(a, RES_DWORD_SPACE, 1);
    emit(a, 23, 2);
    emit(a, SPACE_MEMORY, 1);
    emit(a, SPACE_FIXED, 1);
    emit(a, 1, 1); /* read/write, not cacheable */
    emit(a, 0, 4); /* granularity */
    emit(a, base, 4);
    emit(a, (uint64_t)base + len - 1, 4);
    emit(a, 0, 4); /* translation */
    emit(a, len, 4);
}

void aml_res_buses(struct aml *a, unsigned count)
{
    emit(a, RES_WORD_SPACE, 1);
    emit(a, 13, 2);
    emit(a, SPACE_BUS, 1);
    emit(a, SPACE_FIXED, 1);
    emit(a, 0, 1);
    emit(a, 0, 2);
    emit(a, 0, 2);
    emit(a, count - 1, 2);
    emit(a, 0, 2);
    emit(a, count, 2);
}
