/* Holds ring3's instruction decoder against Zydis. Used by test_insn and by test_insn_kernels. */
#ifndef UNIT_INSN_ZYDIS_H
#define UNIT_INSN_ZYDIS_H

#include <Zydis/Zydis.h>

#include "x86/insn.h"

struct insn_zydis {
    ZydisDecoder decoder;
    uint8_t class_of[ZYDIS_MNEMONIC_MAX_VALUE +
                     1]; /* enum insn_class by mnemonic, see insn_zydis_class.c */
};

void insn_zydis_init(struct insn_zydis *z);

/** Decode bytes[0, avail) with both and compare. Returns true if they agree or differ in a way that
 *  insn_zydis.c lists with its reason; else false, and what differs as text in `why`. *len is how
 *  far to go for the next instruction: the length Zydis says, or 1. `avail` should be at least 15:
 *  what an undefined encoding cut short should return is not agreed. */
bool insn_zydis_agree(struct insn_zydis *z, const uint8_t *bytes, size_t avail, unsigned *len,
                      char *why, size_t why_size);

/* insn_zydis_class.c */

void insn_zydis_init_classes(struct insn_zydis *z);

/** The class the decoder should find, from mnemonic, category and operands. */
enum insn_class insn_zydis_class(const struct insn_zydis *z, const ZydisDecodedInstruction *zi,
                                 const ZydisDecodedOperand *ops);

#endif
