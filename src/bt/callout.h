/* Private to callout*.c: the context of one sensitive instruction. */
#ifndef BT_CALLOUT_H
#define BT_CALLOUT_H

#include "bt/cache.h"

struct ctx {
    struct bt_cpu *b;
    struct vcpu *v;
    const struct insn *in;
    uint64_t gpc;            /* the instruction's own address; v->rip is past it */
    uint32_t resume;
    enum bt_next next;       /* what to do when the handler returns true */
    struct vcpu_exception ex;
};

typedef bool (*callout_fn)(struct ctx *c);

/** Effective address of the memory operand. */
uint64_t callout_ea(const struct ctx *c);
/** Handlers of control transfers and flag instructions (callout_flow.c), NULL for other classes. */
callout_fn callout_flow_handler(uint8_t cls);

/** End the machine: this instruction has an operand nobody here can handle. The line has its bytes. */
void callout_cannot(const struct ctx *c);

#endif
