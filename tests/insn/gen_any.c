/* Any opcode: random bytes with sensible operands, kept if they are an instruction that user code
 * may run and that always does the same. */
#include "insn/gen.h"

#include <string.h>

/* Legacy and VEX opcodes of class PLAIN that have no fixed result, sleep, or need permission. */
static bool unsuitable_plain(const struct insn *in)
{
    unsigned ext = (in->modrm >> 3) & 7;
    if (in->map == 1 && in->opcode == 0xc7 && ext >= 6) { /* rdrand, rdseed, rdpid */
        return true;
    }
    if (in->map == 1 && in->opcode == 0xae &&
        !(ext == 5 || ext == 6 || (ext == 7 && !in->mem))) { /* umonitor..: waits */
        return true;
    }
    if (in->map == 1 && in->opcode == 0xae &&
        (in->prefixes & (INSN_OPSIZE | INSN_REP | INSN_REPNE))) {
        return true;
    }
    if (in->map == 1 && in->opcode == 0x01) {
        return true;
    }
    if (in->map == 1 && in->opcode == 0x0f) { /* 3DNow!: undefined on most */
        return true;
    }
    bool tile =
        in->encoding == INSN_VEX && in->map == 2 &&
        (in->opcode == 0x49 || in->opcode == 0x4b || (in->opcode >= 0x5c && in->opcode <= 0x6f));
    return tile || (in->map == 0 && in->encoding == INSN_LEGACY && in->opcode == 0xc8);
}

static bool suitable(const struct insn *in)
{
    switch (in->cls) {
    case CLS_PLAIN: return !unsuitable_plain(in);
    case CLS_FPU: /* but no gathers, and nothing that saves or loads where x87 was */
        if (in->encoding == INSN_LEGACY && in->map == 0 && in->mem &&
            (in->opcode == 0xd9 || in->opcode == 0xdd)) {
            unsigned ext = (in->modrm >> 3) & 7;
            return !(ext == 4 || ext == 6) && !(in->opcode == 0xdd && ext == 5);
        }
        return !in->vsib && !in->hidden_mem && !unsuitable_plain(in);
    case CLS_NOP:
    case CLS_CLFLUSH:
    case CLS_SERIALIZE:
    case CLS_MOVS:
    case CLS_CMPS:
    case CLS_STOS:
    case CLS_LODS:
    case CLS_SCAS:
    case CLS_PUSHF: return true;
    default: return false;
    }
}

static unsigned prefixes(struct gen *g, uint8_t *p)
{
    static const uint8_t any[] = {0x66, 0x66, 0x66, 0xf2, 0xf3, 0xf3,
                                  0x67, 0xf0, 0x2e, 0x3e, 0x64, 0x65};
    unsigned n = 0;
    while (n < 3 && gen_chance(g, 35)) {
        p[n++] = any[gen_below(g, sizeof(any))];
    }
    return n;
}

/* VEX or EVEX prefix and opcode; the bits that extend ModRM are put in by the caller through *xb.
 */
static unsigned vector_prefix(struct gen *g, uint8_t *p, unsigned *xb)
{
    uint64_t r = gen_random(g);
    unsigned map = 1 + gen_below(g, 3);
    if (gen_chance(g, 45)) { /* EVEX */
        p[0] = 0x62;
        p[1] = (uint8_t)(0x90 | (r & 0x10) | map); /* R' and R as they come, X B set below */
        p[2] = (uint8_t)(4 | (r >> 8 & 0xfb));
        p[3] = (uint8_t)(8 | (r >> 16 & 0x77));
        p[4] = (uint8_t)(r >> 24);
        *xb = 1;
        return 5;
    }
    if (map == 1 && gen_chance(g, 40)) {
        p[0] = 0xc5;
        p[1] = (uint8_t)r;
        p[2] = (uint8_t)(r >> 8);
        *xb = 0;
        return 3;
    }
    p[0] = 0xc4;
    p[1] = (uint8_t)((r & 0x80) | map);
    p[2] = (uint8_t)(r >> 8);
    p[3] = (uint8_t)(r >> 16);
    *xb = 1;
    return 4;
}

/* Bytes of something like an instruction, with room for an immediate at the end. *fix: where a RIP
 * displacement lies. */
static void compose(struct gen *g, uint8_t *p, unsigned *fix, uint64_t *target)
{
    struct rm rm = gen_rm(g, 60, true);
    if (rm.base == GPR_RIP && g->c->code != CODE_LOW) {
        rm = rm_base(gen_below(g, GPR_COUNT), 0);
    }
    unsigned rex_b = rm.mem ? (rm.base < GPR_COUNT && rm.base & 8 ? 1 : 0) : rm.reg >> 3 & 1;
    unsigned rex_x = rm.mem && rm.index < GPR_COUNT && rm.index & 8 ? 2 : 0;
    unsigned n = 0, xb = 0;
    uint64_t r = gen_random(g);
    if (gen_chance(g, 40)) {
        n = vector_prefix(g, p, &xb);
        if (xb) {
            p[1] |= (uint8_t)((rex_b ? 0 : 0x20) | (rex_x ? 0 : 0x40));
        }
    } else {
        unsigned map = gen_chance(g, 35) ? 0 : gen_chance(g, 65) ? 1 : gen_chance(g, 60) ? 2 : 3;
        n = prefixes(g, p);
        unsigned rex = rex_b | rex_x | (unsigned)(r & 0xc);
        if (rex || (r & 0x10)) {
            p[n++] = (uint8_t)(0x40 | rex);
        }
        if (map) {
            p[n++] = 0x0f;
        }
        if (map >= 2) {
            p[n++] = map == 2 ? 0x38 : 0x3a;
        }
        p[n++] = (uint8_t)(r >> 8);
    }
    unsigned at = 0, modrm = n;
    n += asm_modrm(p + n, (unsigned)(r >> 16 & 7), &rm, &at);
    *fix = at ? modrm + at : 0;
    *target = rm.target;
    memcpy(p + n, &r, 8);
    memcpy(p + n + 8, &r, 8);
}

void gen_any(struct gen *g)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        uint8_t p[48] = {0};
        unsigned fix;
        uint64_t target;
        struct insn in;
        compose(g, p, &fix, &target);
        if (insn_decode(&in, p, INSN_MAX_LEN) != INSN_OK) {
            continue;
        }
        bool undefined =
            in.cls == CLS_UD && in.encoding == INSN_LEGACY && in.map <= 1 && gen_chance(g, 2);
        if (!undefined && !suitable(&in)) {
            continue;
        }
        if (!asm_raw(g->c, p, in.len)) {
            return;
        }
        if (fix && in.mem && in.base == GPR_RIP) {
            struct ins *i = &g->c->ins[g->c->count - 1];
            i->fix = INS_RIP;
            i->fix_off = (uint8_t)fix;
            i->fix_size = 4;
            i->address = target;
        }
        return;
    }
    asm_raw(g->c, (const uint8_t[]){0x90}, 1);
}
