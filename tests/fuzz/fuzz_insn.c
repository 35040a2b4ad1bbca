/* libFuzzer over the instruction decoder: any bytes, as one instruction after the other.
 *
 * Invariants: lengths and offsets lie inside; an instruction is the same whatever follows it, also
 * when nothing does; one byte less is too short. Each is decoded from memory of its exact size, so
 * that the sanitizer sees a read beyond.
 *
 * clang -fsanitize=fuzzer,address,undefined; single process, -max_len=64 is plenty.
 */
#include <stdlib.h>
#include <string.h>

#include "x86/insn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Decodes a copy of bytes[0, len) that nothing lies behind. */
static enum insn_status decode_alone(struct insn *in, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    require(copy);
    memcpy(copy, bytes, len);
    enum insn_status status = insn_decode(in, copy, len);
    free(copy);
    return status;
}

static void check_fields(const struct insn *in)
{
    require(in->cls < CLS_COUNT);
    require(in->opcode_off < in->len);
    require(!in->has_modrm || in->modrm_off < in->len);
    require(!in->has_sib || in->has_modrm);
    require(!in->disp_len || in->disp_off + in->disp_len <= in->len);
    require(!in->imm_len || in->imm_off + in->imm_len <= in->len);
    require(in->base <= GPR_NONE && (in->vsib || in->index <= GPR_NONE) && in->index < 32);
    require(in->scale == 1 || in->scale == 2 || in->scale == 4 || in->scale == 8);
    require(in->addrsize == 4 || in->addrsize == 8);
    require(in->opsize <= 8 && (in->opsize & (in->opsize - 1)) == 0);
    require(in->mem || (!in->mem_read && !in->mem_write && in->base == GPR_NONE));
    require(in->cls != CLS_UD || (!in->reg_read && !in->reg_write && !in->stack));
}

static void check_instruction(const struct insn *in, const uint8_t *bytes, size_t size)
{
    struct insn again;
    uint8_t followed[32];
    check_fields(in);
    require(in->len >= 1 && in->len <= INSN_MAX_LEN && in->len <= size);
    require(decode_alone(&again, bytes, in->len) == INSN_OK);
    require(memcmp(&again, in, sizeof(again)) == 0);
    require(decode_alone(&again, bytes, in->len - 1) == INSN_SHORT);
    memset(followed, 0xa5, sizeof(followed));
    memcpy(followed, bytes, in->len);
    require(insn_decode(&again, followed, sizeof(followed)) == INSN_OK);
    require(memcmp(&again, in, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at <= size;) {
        struct insn in;
        switch (insn_decode(&in, data + at, size - at)) {
        case INSN_OK:
            check_instruction(&in, data + at, size - at);
            at += in.len;
            break;
        case INSN_SHORT: require(size - at < INSN_MAX_LEN); return 0;
        case INSN_TOO_LONG:
            require(size - at >= INSN_MAX_LEN);
            at++;
            break;
        }
    }
    return 0;
}
