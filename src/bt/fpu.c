/* Who holds the guest's FPU state: a space's frame (the usual case), v->xsave, or the registers while kernel code uses them (fpu_idle is 0).
 *
 * While fpu_idle is 0, bt_enter loads the registers from v->xsave and bt_exit stores them back, so that whenever C runs, v->xsave or a space's frame has
 * the state. An image from a space is the guest user's to forge: its header is made sane before an XRSTOR of ours sees it.
 */
#include "base/string.h"
#include "bt/uspace.h"

#define XSAVE_LEGACY 512u
#define XSAVE_HEADER 64u
#define MXCSR_OFFSET 24u
#define MXCSR_MASK 0xffffu

static void sanitize(struct bt_cpu *b)
{
    uint8_t *img = b->v->xsave;
    uint64_t bv;
    memcpy(&bv, img + XSAVE_LEGACY, 8);
    bv &= b->xsave_mask;
    memset(img + XSAVE_LEGACY, 0, XSAVE_HEADER);
    memcpy(img + XSAVE_LEGACY, &bv, 8);
    uint32_t mxcsr;
    memcpy(&mxcsr, img + MXCSR_OFFSET, 4);
    mxcsr &= MXCSR_MASK;
    memcpy(img + MXCSR_OFFSET, &mxcsr, 4);
}

void bt_fpu_fetch(struct bt_cpu *b)
{
    struct uspace *u = b->spaces->fpu_in;
    if (!u) {
        return;
    }
    size_t len = 0;
    const uint8_t *img = host_space_xsave(u->space, &len);
    b->spaces->fpu_in = NULL;
    if (img && len >= XSAVE_LEGACY + XSAVE_HEADER) {
        memcpy(b->v->xsave, img, len < VCPU_XSAVE_SIZE ? len : VCPU_XSAVE_SIZE);
        sanitize(b);
    }
}

void bt_fpu_acquire(struct bt_cpu *b)
{
    bt_fpu_fetch(b);
    b->fpu_idle = 0;
}

void bt_fpu_give(struct bt_cpu *b)
{
    struct uspace *u = b->spaces->current;
    b->fpu_idle = 1;
    if (b->spaces->fpu_in == u) {
        return;
    }
    bt_fpu_fetch(b);
    size_t len = 0;
    uint8_t *img = host_space_xsave(u->space, &len);
    if (img) {
        memcpy(img, b->v->xsave, len < VCPU_XSAVE_SIZE ? len : VCPU_XSAVE_SIZE);
    }
    b->spaces->fpu_in = u;
}
