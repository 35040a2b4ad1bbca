/* Instructions and what they should decode to. */
#ifndef UNIT_INSN_SAMPLES_H
#define UNIT_INSN_SAMPLES_H

#include "x86/insn.h"

struct insn_sample {
    const char *hex;  /* the bytes, spaces allowed; all of them belong to the instruction */
    const char *text; /* what insn_text says of it */
};

extern const struct insn_sample insn_samples[];
extern const size_t insn_sample_count;

/** The sample's bytes, at most 15, to `bytes`. Returns how many. */
size_t insn_sample_bytes(const struct insn_sample *sample, uint8_t *bytes);

/** The instruction in one line:
 *    class[/opsize] [read REGS] [write REGS] [mem ADDRESS ACCESS] [imm LEN VALUE] [FLAGS...]
 *  ADDRESS is seg:base+index*scale+disp, ACCESS is - r w or rw and the size in bytes ("?" if it
 *  depends). FLAGS: reg N (where reg is not a general register but a number that matters), stack,
 *  hidden, lock, rep, repne, a32. */
void insn_text(const struct insn *in, char *text, size_t size);

#endif
