/* The window: the guest's kernel half (and low supervisor pages) mapped in the vCPU task's own mm at gva + R. */
#ifndef BT_WINDOW_H
#define BT_WINDOW_H

#include "bt/bt.h"
#include "mmu/shadow.h"

struct window {
    struct shadow shadow;
    struct shadow_pool pool;
};

int window_init(struct bt_cpu *b);
/** RAM page ppn is about to be translated: flag it and withdraw write access to it, everywhere. */
void window_mark_code(struct bt_cpu *b, uint64_t ppn);
/** RAM page ppn has no translated code any more. */
void window_unmark_code(struct bt_cpu *b, uint64_t ppn);

#endif
