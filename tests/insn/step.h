/* Kicks at exact places in translated code. In the engine's child process only. */
#ifndef INSN_STEP_H
#define INSN_STEP_H

#include "base/types.h"

/** Once, after the engine's vcpu_init. */
void step_init(void);
/** The next run of the engine is kicked once, after `after` places: host instructions of translated
 *  code, bt_enter's own first and last, its exits. With `interrupt` that vector becomes pending
 * just before. */
void step_arm(long after, uint8_t interrupt);
/** Whether that has happened; *where: before which instruction. */
bool step_disarm(uint64_t *where);

#endif
