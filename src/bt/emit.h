/* Writing host machine code into the code cache: a cursor and the few forms the translator needs.
 *
 * Running out of room is not checked at each byte: the translator makes sure of enough of it (cache_has_room) before each
 * block. SDM 2 ch. 2 "Instruction Format".
 */
#ifndef BT_EMIT_H
#define BT_EMIT_H

#include "base/string.h"
#include "base/types.h"
#include "x86/insn.h"

struct emit {
    uint8_t *p;
};

static inline uint32_t emit_pos(const struct emit *e)
{
    return (uint32_t)(uintptr_t)e->p;
}

static inline void emit_u8(struct emit *e, unsigned b)
{
    *e->p++ = (uint8_t)b;
}

static inline void emit_u16(struct emit *e, unsigned v)
{
    uint16_t x = (uint16_t)v;
    memcpy(e->p, &x, 2);
    e->p += 2;
}

static inline void emit_u32(struct emit *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}

static inline void emit_u64(struct emit *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}

static inline void emit_bytes(struct emit *e, const uint8_t *src, size_t n)
{
    memcpy(e->p, src, n);
    e->p += n;
}

/** ModRM + SIB for [disp32], absolute and sign-extended. */
static inline void emit_abs_operand(struct emit *e, unsigned reg, uint32_t addr)
{
    emit_u8(e, ((reg & 7) << 3) | 4);
    emit_u8(e, 0x25);
    emit_u32(e, addr);
}

/** mov [addr], r64 */
static inline void emit_store_abs(struct emit *e, uint32_t addr, unsigned r)
{
    emit_u8(e, 0x48 | (r >= 8 ? 4 : 0));
    emit_u8(e, 0x89);
    emit_abs_operand(e, r, addr);
}

/** mov r64, [addr] */
static inline void emit_load_abs(struct emit *e, unsigned r, uint32_t addr)
{
    emit_u8(e, 0x48 | (r >= 8 ? 4 : 0));
    emit_u8(e, 0x8b);
    emit_abs_operand(e, r, addr);
}

/** mov r32, [addr] */
static inline void emit_load32_abs(struct emit *e, unsigned r, uint32_t addr)
{
    if (r >= 8) {
        emit_u8(e, 0x44);
    }
    emit_u8(e, 0x8b);
    emit_abs_operand(e, r, addr);
}

/** mov dword [addr], imm32 */
static inline void emit_store_imm32(struct emit *e, uint32_t addr, uint32_t imm)
{
    emit_u8(e, 0xc7);
    emit_abs_operand(e, 0, addr);
    emit_u32(e, imm);
}

/** mov r64, imm, in the shortest form. */
static inline void emit_mov_imm(struct emit *e, unsigned r, uint64_t imm)
{
    if (imm == (uint32_t)imm) { /* mov r32, imm32 */
        if (r >= 8) {
            emit_u8(e, 0x41);
        }
        emit_u8(e, 0xb8 | (r & 7));
        emit_u32(e, (uint32_t)imm);
    } else if ((uint64_t)(int64_t)(int32_t)imm == imm) {
        emit_u8(e, 0x48 | (r >= 8 ? 1 : 0));
        emit_u8(e, 0xc7);
        emit_u8(e, 0xc0 | (r & 7));
        emit_u32(e, (uint32_t)imm);
    } else {
        emit_u8(e, 0x48 | (r >= 8 ? 1 : 0));
        emit_u8(e, 0xb8 | (r & 7));
        emit_u64(e, imm);
    }
}

/** mov dst, src (64 bits) */
static inline void emit_mov_rr(struct emit *e, unsigned dst, unsigned src)
{
    emit_u8(e, 0x48 | (src >= 8 ? 4 : 0) | (dst >= 8 ? 1 : 0));
    emit_u8(e, 0x89);
    emit_u8(e, 0xc0 | ((src & 7) << 3) | (dst & 7));
}

/** lea dst, [base + index*scale + disp32]; index may be GPR_NONE, never RSP; base any register. */
static inline void emit_lea(struct emit *e, unsigned dst, unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    unsigned rex = 0x48 | (dst >= 8 ? 4 : 0);
    unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
    rex |= index != GPR_NONE && index >= 8 ? 2 : 0;
    rex |= base != GPR_NONE && base >= 8 ? 1 : 0;
    emit_u8(e, rex);
    emit_u8(e, 0x8d);
    if (base == GPR_NONE) { /* [index*scale + disp32] */
        emit_u8(e, ((dst & 7) << 3) | 4);
        emit_u8(e, (ss << 6) | ((index == GPR_NONE ? 4 : index & 7) << 3) | 5);
        emit_u32(e, (uint32_t)disp);
        return;
    }
    bool small = disp == (int8_t)disp;
    emit_u8(e, (small ? 0x40 : 0x80) | ((dst & 7) << 3) | 4);
    emit_u8(e, (ss << 6) | ((index == GPR_NONE ? 4 : index & 7) << 3) | (base & 7));
    if (small) {
        emit_u8(e, (uint8_t)disp);
    } else {
        emit_u32(e, (uint32_t)disp);
    }
}

/** jmp rel32 to an absolute code address */
static inline void emit_jmp(struct emit *e, uint32_t target)
{
    emit_u8(e, 0xe9);
    emit_u32(e, target - (emit_pos(e) + 4));
}

#endif
