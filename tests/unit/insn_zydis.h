/* Holds ring3's instruction decoder against Zydis. Used by the unit test and by insn_check. */
#ifndef TOOLS_INSN_ZYDIS_H
#define TOOLS_INSN_ZYDIS_H

#include <Zydis/Zydis.h>

#include "x86/insn.h"

struct insn_zydis {
    ZydisDecoder decoder;
    uint64_t exceptions; /* disagreements that were expected, see insn_zydis.c */
};

void insn_zydis_init(struct insn_zydis *z);

/** Decode bytes[0, avail) with both and compare. Returns true if they agree or differ in a known,
 *  legitimate way; else false, and text in `why`. *len is the length of the instruction, 1 if it has
 *  none. `avail` should be at least 15, because a short undefined encoding has no agreed status. */
bool insn_zydis_agree(struct insn_zydis *z, const uint8_t *bytes, size_t avail, unsigned *len,
                      char *why, size_t why_size);

#endif
