/* Guest-virtual memory from the monitor: copies that behave as the guest's own accesses would.
 *
 * A copy is at most a page long, so it touches one or two pages. Both are translated first; a
 * fault therefore leaves memory as it was (A and D bits apart, as on a processor). RAM may change
 * while it is copied: callers check the copy, never the original.
 *
 * A stack access outside the canonical range is #SS(0) on a processor; these functions say #GP(0)
 * for every such address and leave it to the caller, who knows what the access was for.
 */
#include "base/log.h"
#include "base/string.h"
#include "mmu/mmu.h"
#include "vm/vm.h"

/** One or two pieces of RAM (or of nothing: host NULL) that together are the guest's buffer. */
struct pieces {
    uint8_t *host[2];
    gpa_t gpa[2];
    size_t len[2];
    unsigned count;
};

static inline bool locate(struct vcpu *v, uint64_t gva, size_t len, unsigned access,
                          struct pieces *p, struct vcpu_exception *ex)
{
    BUG_ON(len > PAGE_SIZE);
    size_t first = PAGE_SIZE - (gva & PAGE_MASK);
    struct mmu_xlat x;

    p->count = 1;
    p->len[0] = len < first ? len : first;
    if (!mmu_walk(v, gva, access, &x, ex))
        return false;
    p->gpa[0] = x.gpa;
    p->host[0] = ram_span(&v->vm->ram, x.gpa, p->len[0]);
    if (__builtin_expect(len <= first, 1))
        return true;

    p->count = 2;
    p->len[1] = len - first;
    if (!mmu_walk(v, gva + first, access, &x, ex))
        return false;
    p->gpa[1] = x.gpa;
    p->host[1] = ram_span(&v->vm->ram, x.gpa, p->len[1]);
    return true;
}

#define WORDS_MAX 64 /* longest copy done by words instead of memcpy */

/** memcpy that moves 8, 4 and 2 bytes in one access, as a processor does: another vCPU must not
 *  see half a page-table entry. Frames and descriptors go by words, too: cheaper than the call. */
static inline void copy(uint8_t *dst, const uint8_t *src, size_t len)
{
    if (len == 4) {
        __builtin_memcpy(dst, src, 4);
    } else if (len == 2) {
        __builtin_memcpy(dst, src, 2);
    } else if (len % 8 == 0 && len <= WORDS_MAX) {
        for (size_t i = 0; i < len; i += 8)
            __builtin_memcpy(dst + i, src + i, 8);
    } else {
        memcpy(dst, src, len);
    }
}

bool mmu_read(struct vcpu *v, uint64_t gva, void *buf, size_t len, unsigned access,
              struct vcpu_exception *ex)
{
    struct pieces p;
    uint8_t *to = buf;
    if (len == 0)
        return true;
    if (!locate(v, gva, len, access, &p, ex))
        return false;
    for (unsigned i = 0; i < p.count; i++) {
        if (p.host[i])
            copy(to, p.host[i], p.len[i]);
        else
            memset(to, 0xff, p.len[i]);
        to += p.len[i];
    }
    return true;
}

bool mmu_write(struct vcpu *v, uint64_t gva, const void *buf, size_t len, unsigned access,
               struct vcpu_exception *ex)
{
    struct pieces p;
    const uint8_t *from = buf;
    if (len == 0)
        return true;
    if (!locate(v, gva, len, access | MMU_WRITE, &p, ex))
        return false;
    for (unsigned i = 0; i < p.count; i++) {
        if (p.host[i]) {
            copy(p.host[i], from, p.len[i]);
            mmu_ram_written(v->vm, p.gpa[i], p.len[i]);
        }
        from += p.len[i];
    }
    return true;
}
