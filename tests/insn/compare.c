/* What may differ between the two results of a case, and what may not.
 *
 * Never compared: the U bit of page-fault codes (the native side runs in user mode); the P bit for
 * addresses of the host's kernel half; where x87 saw its last instruction.
 */
#include "insn/layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FLAGS_COMPARED                                                                             \
    (RFLAGS_ARITH | RFLAGS_DF | RFLAGS_ID | RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_IF)
#define USER_END 0x7ffffffff000ull

struct report {
    char *at;
    size_t left;
    bool any;
};

PRINTF_LIKE(2, 3) static void differ(struct report *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(r->at, r->left, fmt, ap);
    va_end(ap);
    size_t used = n > 0 && (size_t)n < r->left ? (size_t)n : 0;
    r->at += used;
    r->left -= used;
    r->any = true;
}

static void compare_number(struct report *r, const char *what, uint64_t native, uint64_t engine)
{
    if (native != engine) {
        differ(r, "  %-8s native %#llx, engine %#llx\n", what, (unsigned long long)native,
               (unsigned long long)engine);
    }
}

/* The part of a page-fault code that both sides can know. */
static uint32_t known_error(const struct result *res)
{
    if (res->vector != VEC_PF) {
        return res->error;
    }
    return res->error & ~(PF_U | (res->cr2 >= USER_END ? PF_P : 0));
}

/* The translator leaves wrong flags behind add, sub and and of RSP where it sees nobody who reads
 * them (docs/limits.md). */
static bool rsp_arithmetic(const struct insn_case *c)
{
    struct insn in;
    for (unsigned at = 0; at < c->len; at += in.len) {
        if (insn_decode(&in, c->bytes + at, c->len - at) != INSN_OK) {
            break;
        }
        unsigned ext = (in.modrm >> 3) & 7;
        bool immediate =
            in.map == 0 && in.encoding == INSN_LEGACY && (in.opcode == 0x81 || in.opcode == 0x83);
        if (immediate && !in.mem && in.rm == RSP && (ext == 0 || ext == 4 || ext == 5)) {
            return true;
        }
    }
    return false;
}

static void compare_registers(struct report *r, const struct insn_case *c, const struct result *n,
                              const struct result *e)
{
    static const char *const name[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                "r12", "r13", "r14", "r15"};
    compare_number(r, "vector", n->vector, e->vector);
    compare_number(r, "rip", n->rip - c->gpc, e->rip - c->gpc);
    if (n->vector == e->vector) {
        compare_number(r, "error", known_error(n), known_error(e));
        if (n->vector == VEC_PF) {
            compare_number(r, "cr2", n->cr2, e->cr2);
        }
    }
    uint64_t flags = FLAGS_COMPARED & ~(rsp_arithmetic(c) ? RFLAGS_ARITH : 0);
    compare_number(r, "rflags", n->rflags & flags, e->rflags & flags);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        compare_number(r, name[i], n->gpr[i], e->gpr[i]);
    }
}

/* An MMX instruction whose operand faulted: whether it has reset the x87 stack by then is the
 * processor's own affair. */
static bool faulting_mmx(const struct result *n)
{
    struct insn in;
    bool fault = n->vector == VEC_PF || n->vector == VEC_GP || n->vector == VEC_SS;
    return fault && insn_decode(&in, n->at, sizeof(n->at)) == INSN_OK && in.cls == CLS_FPU &&
           in.encoding == INSN_LEGACY && in.map >= 1 && in.mem;
}

static void compare_image(struct report *r, const struct result *n, const struct result *e)
{
    unsigned first = faulting_mmx(n) ? 3 : 0;
    static const struct {
        const char *name;
        unsigned from, to;
    } part[] = {{"x87", 0, 24},          {"mxcsr", 24, 28},
                {"st", 28, 160},         {"xmm", 160, 512},
                {"ymm high", 512, 768},  {"k", 768, 832},
                {"zmm high", 832, 1344}, {"zmm16-31", 1344, IMAGE_SIZE}};
    for (unsigned p = first; p < ARRAY_LEN(part); p++) {
        for (unsigned i = part[p].from; i < part[p].to; i += 4) {
            if (memcmp(n->image + i, e->image + i, 4)) {
                uint32_t a, b;
                memcpy(&a, n->image + i, 4);
                memcpy(&b, e->image + i, 4);
                differ(r, "  %s byte %u: native %08x, engine %08x\n", part[p].name,
                       i - part[p].from, a, b);
                break;
            }
        }
    }
}

static bool forbidden(const struct batch *b, const struct result *res)
{
    for (unsigned i = 0; res->vector == VEC_PF && i < b->forbidden_count; i++) {
        if (res->cr2 + 64 >= b->forbidden[i].from && res->cr2 < b->forbidden[i].to) {
            return true;
        }
    }
    return false;
}

/* Operands that the engine does not rewrite at all, and says so: memory whose extent depends
 * (masked, gathered, saved state), RSP in VEX. */
static bool may_be_unsupported(const struct insn_case *c)
{
    struct insn in;
    for (unsigned at = 0; at < c->len; at += in.len) {
        if (insn_decode(&in, c->bytes + at, c->len - at) != INSN_OK) {
            break;
        }
        bool odd_memory =
            in.hidden_mem || (in.mem && (in.vsib || !in.mem_size) && (in.mem_read || in.mem_write));
        bool odd_rsp = (in.encoding != INSN_LEGACY || in.cls == CLS_FPU) &&
                       (in.reg_read | in.reg_write) & 1u << RSP;
        bool enter = in.map == 0 && in.encoding == INSN_LEGACY && in.opcode == 0xc8;
        if (odd_memory || odd_rsp || enter) {
            return true;
        }
    }
    return false;
}

/* A feature this processor lacks: #UD natively, where the engine may look at the operand first. */
static bool lacks_feature(const struct insn_case *c, const struct result *n, const struct result *e)
{
    struct insn in;
    uint64_t at = n->rip - c->gpc;
    if (n->vector == VEC_PF && e->vector == VEC_UD &&
        e->rip == n->rip) { /* undefined, and cut off by the hole: its ModRM is fetched first */
        return n->cr2 == align_down(c->gpc, SLOT_SIZE) + SLOT_CODE;
    }
    return n->vector == VEC_UD && e->rip == n->rip && at < c->len &&
           insn_decode(&in, c->bytes + at, c->len - at) == INSN_OK && in.cls != CLS_UD && in.mem &&
           (in.map > 1 || in.encoding != INSN_LEGACY || in.cls == CLS_FPU);
}

/* Code that changed itself into an instruction that only the guest may run. */
static bool privileged(const struct result *n)
{
    struct insn in;
    if (n->vector != VEC_GP || insn_decode(&in, n->at, sizeof(n->at)) != INSN_OK) {
        return false;
    }
    return in.cls >= CLS_INTN && !(in.cls >= CLS_MOVS && in.cls <= CLS_SCAS);
}

/* Strings that processors carry out in their own ways: with 32-bit addresses, where the upper
 * halves of the registers may go when nothing was done; and repeated over their own bytes, where
 * the new ones are fetched after some element or other (an interrupt in between fetches them, too).
 */
static bool odd_string(const struct insn_case *c, const struct result *n, const struct result *e)
{
    struct insn in;
    bool own = e->code_changed || n->page[CODE_PAGE] != e->page[CODE_PAGE];
    for (unsigned at = 0; at < c->len; at += in.len) {
        if (insn_decode(&in, c->bytes + at, c->len - at) != INSN_OK) {
            break;
        }
        bool repeated = in.prefixes & (INSN_REP | INSN_REPNE);
        bool odd = in.addrsize == 4 || (own && repeated);
        if (odd && in.cls >= CLS_MOVS && in.cls <= CLS_SCAS) {
            return true;
        }
    }
    return false;
}

/* Those flags can only be wrong with an RSP that no kernel has, and matter when they are read
 * later. */
static bool wild_rsp(const struct insn_case *c, const struct result *n)
{
    bool sane[2] = {false, false};
    const uint64_t rsp[2] = {c->gpr[RSP], n->gpr[RSP]};
    for (unsigned r = 0; r < REGIONS; r++) {
        for (unsigned i = 0; i < 2; i++) {
            sane[i] |= rsp[i] - region[r].gva + 0x10000 < 0x20000;
        }
    }
    return rsp_arithmetic(c) && !(sane[0] && sane[1]);
}

bool case_spoils(const struct batch *b, unsigned i)
{
    const struct result *e = &b->engine[i];
    return forbidden(b, e) && (e->error & PF_W);
}

enum verdict case_compare(const struct batch *b, unsigned i, char *why, size_t size)
{
    const struct insn_case *c = &b->c[i];
    const struct result *n = &b->native[i], *e = &b->engine[i];
    struct report r = {.at = why, .left = size};
    why[0] = '\0';
    if (n->status != RESULT_TRAP) {
        return SKIPPED_NATIVE;
    }
    if (e->status == RESULT_VM_FAILED && may_be_unsupported(c)) {
        return SKIPPED_UNSUPPORTED;
    }
    if (e->status != RESULT_TRAP) {
        differ(&r, "  native: vector %u at +%#llx; engine: %s\n", n->vector,
               (unsigned long long)(n->rip - c->gpc),
               e->status == RESULT_TIMEOUT ? "no end" : e->why);
        return DIFFERENT;
    }
    compare_registers(&r, c, n, e);
    compare_image(&r, n, e);
    for (unsigned p = 0; p < MEMORY_PAGES; p++) {
        if (n->page[p] != e->page[p]) {
            char name[40];
            layout_page_name(p, name, sizeof(name));
            differ(&r, "  %s differs\n", name);
        }
    }
    /* A branch to a non-canonical address faults at the branch on Intel's processors, at its target
     * on AMD's and in the engine. */
    bool wild = n->vector == VEC_GP && !gva_canonical(e->rip);
    if (r.any && (wild || privileged(n) || wild_rsp(c, n) || odd_string(c, n, e) ||
                  lacks_feature(c, n, e))) {
        return SKIPPED_FORBIDDEN;
    }
    if (r.any && (forbidden(b, n) || forbidden(b, e))) {
        return SKIPPED_FORBIDDEN;
    }
    if (r.any && e->why[0]) {
        differ(&r, "  %s\n", e->why);
    }
    return r.any ? DIFFERENT : SAME;
}
