/* Private to the engine's loop and its helpers. */
#ifndef BT_DISPATCH_H
#define BT_DISPATCH_H

#include "bt/bt.h"
#include "engine/engine.h"

#define TRANSLATE_MAX 64u

/** Engine entry, see engine.h. */
enum engine_exit bt_run(struct vcpu *v);
/** Run exactly one kernel instruction at v->rip. v precise before and after. */
enum bt_next bt_step(struct bt_cpu *b);

/* ---- emulate.c; bt.h has bt_fetch ---- */

/** Carry out the instruction at v->rip in C (a write to the code page it runs from, an odd operand); delivers its fault. */
enum bt_next bt_emulate_one(struct bt_cpu *b);
/** Whether the instruction at gpc has a GS prefix. */
bool bt_uses_gs(struct bt_cpu *b, uint64_t gpc);
/** Whether v is at a string instruction. */
bool bt_at_string(struct bt_cpu *b);
/** Whether v is at a POPF, and where it ends; at a MOV to SS, after which there is no single-step trap (SDM 3 §6.8.3). */
bool bt_at_popf(struct bt_cpu *b, uint64_t *end);
bool bt_at_mov_ss(struct bt_cpu *b);
/** v is at an instruction that got #GP or #SS: whether its memory operand is canonical for the guest, so that only our window was at fault. */
bool bt_reaches_canonical(struct bt_cpu *b);
/** Whether v is at an instruction that bt_stack_execute knows. */
bool bt_at_stack_insn(struct bt_cpu *b);
/** An implied stack operand at gva lies where the window cannot map it. */
enum bt_next bt_stack_fault(struct bt_cpu *b, uint64_t gva, unsigned access);

#endif
