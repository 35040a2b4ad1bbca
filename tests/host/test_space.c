/* Spaces, used as they are meant to be: events and their exact registers, state that must survive,
 * mappings. */
#include "host/space_fixture.h"

/* ---- every event ---- */

/** Code that runs into one event at label 1 (or past it), with the registers of regs_ready. */
struct event_case {
    const char *name;
    const uint8_t *code, *end;
    enum space_event event;
    uint8_t vector;
    uint32_t error;
    uint32_t rip; /* offset in the code */
    uint64_t cr2;
    uint16_t cs; /* 0: 0x33 */
};

#define CASE_CODE(name, lines) GUEST_CODE(case_##name, lines)
CASE_CODE(int3, "int3");
CASE_CODE(int_3, ".byte 0xcd, 3");
CASE_CODE(int1, ".byte 0xf1");
CASE_CODE(ud2, "ud2");
CASE_CODE(div, "xor %ecx, %ecx; div %ecx");
CASE_CODE(overflow, "mov $1, %edx; mov $1, %ecx; div %ecx");
CASE_CODE(hlt, "hlt");
CASE_CODE(int81, "int $0x81");
CASE_CODE(int4, "int $4");
CASE_CODE(ss, "movabs $0x8000000000000000, %rsp; push %rax");
CASE_CODE(gp, "movabs $0x8000000000000000, %rax; mov (%rax), %eax");
CASE_CODE(read, "mov 0x700010, %eax");
CASE_CODE(write, "movl $1, 0x700010");
CASE_CODE(readonly, "movl $1, 0x400020");
CASE_CODE(fetch, "jmp *%rax; .byte 0");
CASE_CODE(nx, "jmp *%rdi");
CASE_CODE(kernel, "mov $0xffffffff81000000, %rax; mov (%rax), %eax");
CASE_CODE(ac, "pushf; orl $0x40000, (%rsp); popf; mov 1(%rdi), %eax");
CASE_CODE(mf, "push $0x300; fldcw (%rsp); fld1; fldz; fdivrp; fwait");
CASE_CODE(xm, "push $0; ldmxcsr (%rsp); pxor %xmm0, %xmm0; divss %xmm0, %xmm0");
CASE_CODE(syscall, "syscall");
CASE_CODE(int80, "int $0x80");
CASE_CODE(vsyscall, "mov $0xffffffffff600000, %rax; call *%rax");
CASE_CODE(int80_32, ".code32; int $0x80; .code64");
CASE_CODE(into32, ".code32; mov $0x7fffffff, %eax; inc %eax; into; .code64");
CASE_CODE(bound32, ".code32; mov $5, %eax; bound %eax, (%edi); .code64");
CASE_CODE(int3_32, ".code32; int3; .code64");
CASE_CODE(ud_32, ".code32; ud2; .code64");
CASE_CODE(read_32, ".code32; mov 0x700010, %eax; .code64");

#define CASE(name) #name, case_##name, case_##name##_end
static const struct event_case EVENT_CASES[] = {
    {CASE(int3), SPACE_EXCEPTION, VEC_BP, 0, 1, 0, 0},
    {CASE(int_3), SPACE_EXCEPTION, VEC_BP, 0, 2, 0, 0},
    {CASE(int1), SPACE_EXCEPTION, VEC_DB, 0, 1, 0, 0},
    {CASE(ud2), SPACE_EXCEPTION, VEC_UD, 0, 0, 0, 0},
    {CASE(div), SPACE_EXCEPTION, VEC_DE, 0, 2, 0, 0},
    {CASE(overflow), SPACE_EXCEPTION, VEC_DE, 0, 10, 0, 0},
    {CASE(hlt), SPACE_EXCEPTION, VEC_GP, 0, 0, 0, 0},
    {CASE(int81), SPACE_EXCEPTION, VEC_GP, 0x40a, 0, 0, 0},
    {CASE(int4), SPACE_EXCEPTION, VEC_OF, 0, 2, 0, 0},
    {CASE(ss), SPACE_EXCEPTION, VEC_SS, 0, 10, 0, 0},
    {CASE(gp), SPACE_EXCEPTION, VEC_GP, 0, 10, 0, 0},
    {CASE(read), SPACE_PAGE_FAULT, VEC_PF, PF_U, 0, 0x700010, 0},
    {CASE(write), SPACE_PAGE_FAULT, VEC_PF, PF_U | PF_W, 0, 0x700010, 0},
    {CASE(readonly), SPACE_PAGE_FAULT, VEC_PF, PF_U | PF_W | PF_P, 0, 0x400020, 0},
    {CASE(kernel), SPACE_PAGE_FAULT, VEC_PF, PF_U | PF_P, 7, 0xffffffff81000000, 0},
    {CASE(ac), SPACE_EXCEPTION, VEC_AC, 0, 9, 0, 0},
    {CASE(mf), SPACE_EXCEPTION, VEC_MF, 0, 14, 0, 0},
    {CASE(xm), SPACE_EXCEPTION, VEC_XM, 0, 10, 0, 0},
    {CASE(syscall), SPACE_SYSCALL, 0, 0, 2, 0, 0},
    {CASE(int80), SPACE_INT80, 0, 0, 2, 0, 0},
    {CASE(int80_32), SPACE_INT80, 0, 0, 2, 0, 0x23},
    {CASE(into32), SPACE_EXCEPTION, VEC_OF, 0, 7, 0, 0x23},
    {CASE(bound32), SPACE_EXCEPTION, VEC_BR, 0, 5, 0, 0x23},
    {CASE(int3_32), SPACE_EXCEPTION, VEC_BP, 0, 1, 0, 0x23},
    {CASE(ud_32), SPACE_EXCEPTION, VEC_UD, 0, 0, 0, 0x23},
    {CASE(read_32), SPACE_PAGE_FAULT, VEC_PF, PF_U, 0, 0x700010, 0x23},
};

static void test_events(void **state)
{
    (void)state;
    struct space *s = space_ready();
    for (unsigned i = 0; i < ARRAY_LEN(EVENT_CASES); i++) {
        const struct event_case *c = &EVENT_CASES[i];
        struct space_regs r = regs_ready();
        if (c->cs) {
            r.cs = c->cs;
            r.ds = r.es = 0x2b;
        }
        code_put(c->code, c->end);
        struct space_exit x = run(s, &r);
        if (x.event != c->event || x.vector != c->vector || x.error != c->error ||
            x.cr2 != c->cr2 || r.rip != CODE_GVA + c->rip || r.cs != (c->cs ? c->cs : 0x33)) {
            fail_msg("%s: event %d vector %d error %x cr2 %lx rip %lx cs %x", c->name, (int)x.event,
                     x.vector, x.error, (unsigned long)x.cr2, (unsigned long)r.rip, r.cs);
        }
    }
    host_space_destroy(s);
}

/** Fetches: RIP and CR2 are the target. */
static void test_fetch_faults(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(case_fetch);
    r.gpr[RAX] = 0x700000;
    struct space_exit x = run(s, &r);
    assert_int_equal(x.event, SPACE_PAGE_FAULT);
    assert_int_equal(x.error, PF_U | PF_I);
    assert_int_equal(x.cr2, 0x700000);
    assert_int_equal(r.rip, 0x700000);
    r = regs_ready();
    CODE_PUT(case_nx);
    x = run(s, &r);
    assert_int_equal(x.event, SPACE_PAGE_FAULT);
    assert_int_equal(x.error, PF_U | PF_I | PF_P);
    assert_int_equal(x.cr2, DATA_GVA);
    r = regs_ready();
    CODE_PUT(case_vsyscall);
    x = run(s, &r);
    assert_int_equal(x.event, SPACE_PAGE_FAULT);
    assert_int_equal(x.cr2, 0xffffffffff600000);
    assert_int_equal(r.rip, 0xffffffffff600000);
    assert_int_equal(r.gpr[RSP], STACK_TOP - 264);
    assert_int_equal(*(uint64_t *)(test_vm.ram.base + DATA_OFF + DATA_PAGES * PAGE_SIZE - 264),
                     CODE_GVA + 9);
    host_space_destroy(s);
}

/** A page beyond the memory object's end is a page fault, too. */
static void test_beyond_the_end(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(case_read);
    assert_int_equal(host_space_map(s, 0x700000, RAM_SIZE - PAGE_SIZE, PAGE_SIZE, HOST_R), 0);
    assert_int_equal(host_space_sync(s), 0);
    assert_int_equal(ftruncate(test_vm.ram.fd, (off_t)(RAM_SIZE - PAGE_SIZE)), 0);
    struct space_exit x = run(s, &r);
    assert_int_equal(ftruncate(test_vm.ram.fd, (off_t)RAM_SIZE), 0);
    assert_int_equal(x.event, SPACE_PAGE_FAULT);
    assert_int_equal(x.cr2, 0x700010);
    host_space_destroy(s);
}

GUEST_CODE(cpuid_code, "mov $0x40000000, %eax; cpuid; int3");
static void test_cpuid(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    CODE_PUT(cpuid_code);
    struct space_exit x = run(s, &r);
    if (s->host->cpuid_faults) {
        assert_int_equal(x.event, SPACE_CPUID);
        assert_int_equal(r.rip, CODE_GVA + 5);
        assert_int_equal(r.gpr[RAX], 0x40000000);
        r.rip += 2;
        x = run(s, &r);
    }
    assert_int_equal(x.event, SPACE_EXCEPTION);
    assert_int_equal(x.vector, VEC_BP);
    host_space_destroy(s);
}

/** RAX survives, also where it looks like a call to be restarted; x32 numbers are ordinary ones. */
static void test_syscall_numbers(void **state)
{
    (void)state;
    static const int64_t numbers[] = {
        0,    1,    60,   231,  -1,   -4,         -512,      -513,          -514,
        -515, -516, -517, 4095, 9999, 0x40000001, INT64_MAX, -0x7fffffffff, INT64_MIN};
    struct space *s = space_ready();
    CODE_PUT(case_syscall);
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        struct space_regs r = regs_ready();
        r.gpr[RAX] = (uint64_t)numbers[i];
        r.rflags |= RFLAGS_CF | RFLAGS_DF;
        struct space_exit x = run(s, &r);
        assert_int_equal(x.event, SPACE_SYSCALL);
        assert_int_equal(r.gpr[RAX], numbers[i]);
        assert_int_equal(r.rip, CODE_GVA + 2);
        assert_int_equal(r.gpr[RCX], r.rip);
        assert_int_equal(r.gpr[R11], RFLAGS_CF | RFLAGS_DF | RFLAGS_FIXED | RFLAGS_IF);
    }
    CODE_PUT(case_int80);
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        struct space_regs r = regs_ready();
        r.gpr[RAX] = (uint64_t)numbers[i];
        struct space_exit x = run(s, &r);
        assert_int_equal(x.event, SPACE_INT80);
        assert_int_equal((uint32_t)r.gpr[RAX], (uint32_t)numbers[i]);
        assert_int_equal(r.rip, CODE_GVA + 2);
    }
    host_space_destroy(s);
}

/* ---- state ---- */

static uint64_t random_canonical(void)
{
    return (uint64_t)((int64_t)(test_random() << 16) >> 16);
}

/** All registers, and the vector state, through a run and back. */
static void test_registers(void **state)
{
    (void)state;
    static const uint16_t selectors[] = {0, 0x2b, 0x2b, 0x23, 0x33, 0x7b};
    const uint64_t flags = RFLAGS_ARITH | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID;
    static uint8_t before[VCPU_XSAVE_SIZE];
    struct space *s = space_ready();
    CODE_PUT(case_int3);
    for (unsigned round = 0; round < 1000; round++) {
        struct space_regs r = regs_ready();
        for (unsigned i = 0; i < GPR_COUNT; i++) {
            r.gpr[i] = test_random();
        }
        r.rflags |= test_random() & flags;
        r.fs_base = random_canonical();
        r.gs_base = random_canonical();
        r.ds = selectors[test_random() % ARRAY_LEN(selectors)];
        r.es = selectors[test_random() % ARRAY_LEN(selectors)];
        r.fs = selectors[test_random() % ARRAY_LEN(selectors)];
        r.gs = selectors[test_random() % ARRAY_LEN(selectors)];
        size_t len;
        uint8_t *image = host_space_xsave(s, &len);
        uint64_t features;
        memcpy(&features, image + FPSTATE_SW_XFEATURES, sizeof(features));
        features &= 0xe6; /* SSE, AVX, AVX-512 */
        memcpy(image + 512, &features, sizeof(features));
        for (size_t i = 160; i < len - 4; i++) {
            if (i < 416 || (features & 4 && i >= 576 && i < 832) ||
                (features & 0xe0 && i >= 1088 && i < 2688)) {
                image[i] = (uint8_t)test_random();
            }
        }
        memcpy(before, image, len);
        struct space_regs was = r;
        struct space_exit x = run(s, &r);
        assert_int_equal(x.vector, VEC_BP);
        was.rip++;
        assert_memory_equal(&r, &was, sizeof(r));
        image = host_space_xsave(s, &len);
        assert_memory_equal(before + 160, image + 160, 416 - 160);
        assert_memory_equal(before + 576, image + 576, (features & 4) ? 256 : 0);
        assert_memory_equal(before + 1088, image + 1088, (features & 0xe0) ? 1600 : 0);
    }
    host_space_destroy(s);
}

/** What the host cannot load is refused, and the thread stays usable. */
static void test_refused_registers(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_exit x;
    CODE_PUT(case_int3);
    for (unsigned i = 0; i < 10; i++) {
        struct space_regs r = regs_ready();
        switch (i) {
        case 0: r.cs = 0x10; break;
        case 1: r.cs = 0x2b; break;
        case 2: r.ss = 0; break;
        case 3: r.rip = 1ull << 47; break;
        case 4: r.cs = 0x23, r.rip = 1ull << 32; break;
        case 5: r.ds = 0x63; break;
        case 6: r.fs = 0x4; break;
        case 7: r.es = 0x10; break;
        case 8: r.gs = 0x83; break;
        case 9: r.fs_base = 1ull << 63; break;
        }
        assert_int_equal(host_space_run(s, &r, &x), -EINVAL);
        r = regs_ready();
        assert_int_equal(run(s, &r).vector, VEC_BP);
    }
    host_space_destroy(s);
}

/** TF: one instruction a run, also across a system call. */
GUEST_CODE(step_code, "nop; inc %eax; syscall; nop; nop");
static void test_single_step(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    static const uint32_t stops[] = {1, 3, 5, 6, 7};
    CODE_PUT(step_code);
    r.rflags |= RFLAGS_TF;
    for (unsigned i = 0; i < ARRAY_LEN(stops); i++) {
        struct space_exit x = run(s, &r);
        assert_int_equal(r.rip, CODE_GVA + stops[i]);
        assert_int_equal(x.event, stops[i] == 5 ? SPACE_SYSCALL : SPACE_EXCEPTION);
        assert_true(r.rflags & RFLAGS_TF);
        if (x.event == SPACE_EXCEPTION) {
            assert_int_equal(x.vector, VEC_DB);
            assert_int_equal(x.error, 1u << 14);
        }
    }
    host_space_destroy(s);
}

/* 32-bit code: segments with TLS descriptors, the fast call, back to 64 bits by a far jump. */
GUEST_CODE(
    tls_code,
    ".code32; mov $0x63, %eax; mov %eax, %gs; mov %gs:8, %ebx; mov %eax, %fs; mov %fs:12, %ecx\n"
    "mov %eax, %es; mov %es:16, %edx; int $0x80; mov %gs:8, %esi; int3; .code64");
GUEST_CODE(sysenter_code, ".code32; sysenter; .code64");
static void test_compat(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_regs r = regs_ready();
    data_page(0)[1] = 0x2222222211111111;
    data_page(0)[2] = 0x33333333;
    r.cs = 0x23;
    r.ds = r.es = 0x2b;
    CODE_PUT(tls_code);
    uint64_t base = DATA_GVA;
    struct space_exit x;
    uint64_t raw =
        0xffff | (base & 0xffffff) << 16 | 0xf3ull << 40 | 0xcfull << 48 | base >> 24 << 56;
    if (!s->desk_gva) {
        assert_int_equal(host_space_set_tls(s, 0, raw), -ENOTSUP);
        assert_int_equal(host_space_set_tls(s, 0, 0), 0);
        host_space_destroy(s);
        return;
    }
    assert_int_equal(host_space_set_tls(s, 0, raw), 0);
    x = run(s, &r);
    assert_int_equal(x.event, SPACE_INT80);
    assert_int_equal(r.gpr[RBX], 0x11111111);
    assert_int_equal(r.gpr[RCX], 0x22222222);
    assert_int_equal(r.gpr[RDX], 0x33333333);
    assert_int_equal(r.gs, 0x63);
    assert_int_equal(r.gs_base, DATA_GVA);
    assert_int_equal(r.es, 0x63);
    x = run(s, &r);
    assert_int_equal(x.vector, VEC_BP);
    assert_int_equal(r.gpr[RSI], 0x11111111);
    assert_int_equal(host_space_set_tls(s, 0, 0), 0);
    assert_int_equal(host_space_run(s, &r, &x), -EINVAL); /* the selectors are dead now */
    assert_int_equal(host_space_set_tls(s, 1, 0x00cff3000000ffff & ~(1ull << 54)),
                     -EINVAL); /* 16-bit */
    assert_int_equal(host_space_set_tls(s, 3, raw), -EINVAL);
    if (s->host->intel) {
        r = regs_ready();
        r.cs = 0x23;
        r.gpr[RBP] = DATA_GVA + 0x800;
        CODE_PUT(sysenter_code);
        x = run(s, &r);
        assert_int_equal(x.event, SPACE_SYSCALL32);
        assert_int_equal(r.gpr[RBP], DATA_GVA + 0x800);
    }
    host_space_destroy(s);
}

/* ---- mappings ---- */

GUEST_CODE(probe_read, "mov (%rdi), %rax; int3");
GUEST_CODE(probe_write, "mov %rsi, (%rdi); int3");

#define MODEL_PAGES 48
#define MODEL_GVA 0x10000000ull
#define MODEL_OFF 0x200000ull

/** What should be mapped: RAM page + 1, 0 none, and whether for writing. */
struct model {
    uint16_t page[MODEL_PAGES];
    bool write[MODEL_PAGES];
};

static void model_check(struct space *s, const struct model *m)
{
    for (unsigned i = 0; i < MODEL_PAGES; i++) {
        struct space_regs r = regs_ready();
        bool write = test_random() & 1;
        r.rip = CODE_GVA + (write ? 16 : 0);
        r.gpr[RDI] = MODEL_GVA + i * PAGE_SIZE + 8 * (unsigned)write;
        r.gpr[RSI] = test_random();
        struct space_exit x = run(s, &r);
        if (!m->page[i] || (write && !m->write[i])) {
            assert_int_equal(x.event, SPACE_PAGE_FAULT);
            assert_int_equal(x.cr2, r.gpr[RDI]);
            assert_int_equal(x.error & PF_P, m->page[i] != 0);
            continue;
        }
        assert_int_equal(x.vector, VEC_BP);
        uint64_t *ram = (uint64_t *)(test_vm.ram.base + MODEL_OFF + (m->page[i] - 1u) * PAGE_SIZE);
        assert_int_equal(write ? ram[1] : ram[0], write ? r.gpr[RSI] : r.gpr[RAX]);
    }
}

static void model_step(struct space *s, struct model *m)
{
    unsigned first = (unsigned)(test_random() % MODEL_PAGES),
             count = 1 + (unsigned)(test_random() % 8);
    count = count < MODEL_PAGES - first ? count : MODEL_PAGES - first;
    unsigned from = (unsigned)(test_random() % 1000);
    bool write = test_random() & 1;
    unsigned kind = (unsigned)(test_random() % 16);
    uint64_t gva = MODEL_GVA + first * PAGE_SIZE;
    bool whole = true;
    for (unsigned i = first; i < first + count; i++) {
        whole = whole && m->page[i];
    }
    if (kind < 9) {
        assert_int_equal(host_space_map(s, gva, MODEL_OFF + from * PAGE_SIZE, count * PAGE_SIZE,
                                        HOST_R | (write ? HOST_W : 0)),
                         0);
    } else if (kind < 12) {
        assert_int_equal(host_space_unmap(s, gva, count * PAGE_SIZE), 0);
    } else if (kind < 15 && whole) {
        assert_int_equal(
            host_space_protect(s, gva, count * PAGE_SIZE, HOST_R | (write ? HOST_W : 0)), 0);
    } else if (kind == 15) {
        assert_int_equal(host_space_empty(s), 0);
        assert_int_equal(host_space_map(s, CODE_GVA, 0, PAGE_SIZE, HOST_R | HOST_X), 0);
        memset(m, 0, sizeof(*m));
        return;
    }
    for (unsigned i = first; i < first + count; i++) {
        if (kind < 9) {
            m->page[i] = (uint16_t)(from + i - first + 1);
            m->write[i] = write;
        } else if (kind < 12) {
            m->page[i] = 0;
        } else if (kind < 15 && whole) {
            m->write[i] = write;
        }
    }
}

static void test_mappings(void **state)
{
    (void)state;
    struct model m = {0};
    struct space *s = space_ready();
    code_put(probe_read, probe_read_end);
    memcpy(test_vm.ram.base + 16, probe_write, (size_t)(probe_write_end - probe_write));
    for (unsigned i = 0; i < 1100; i++) {
        *(uint64_t *)(test_vm.ram.base + MODEL_OFF + i * PAGE_SIZE) = i;
    }
    for (unsigned round = 0; round < 200; round++) {
        unsigned steps = round % 50 == 49 ? 3000 : 1 + (unsigned)(test_random() % 12);
        for (unsigned i = 0; i < steps; i++) {
            model_step(s, &m);
        }
        switch (test_random() % 4) {
        case 0: assert_int_equal(host_space_sync(s), 0); break;
        case 1: assert_int_equal(host_space_park(s), 0); break;
        }
        model_check(s, &m);
    }
    host_space_destroy(s);
}

static void test_refused_ranges(void **state)
{
    (void)state;
    struct space *s = space_ready();
    for (unsigned i = 0; i < s->own_count; i++) {
        uint64_t own = s->own[i].gva, end = own + s->own[i].len;
        assert_int_equal(host_space_map(s, own, 0, PAGE_SIZE, HOST_R), -EADDRINUSE);
        assert_int_equal(host_space_map(s, end - PAGE_SIZE, 0, 2 * PAGE_SIZE, HOST_R), -EADDRINUSE);
        assert_int_equal(host_space_map(s, own - PAGE_SIZE, 0, 2 * PAGE_SIZE, HOST_R), -EADDRINUSE);
        /* an unmap goes around: nothing of the guest's can be there */
        assert_int_equal(host_space_unmap(s, own, PAGE_SIZE), 0);
        assert_int_equal(host_space_unmap(s, end - PAGE_SIZE, 2 * PAGE_SIZE), 0);
        assert_int_equal(host_space_protect(s, own - 0x10000, 1ull << 40, HOST_R), -EADDRINUSE);
        assert_int_equal(host_space_map(s, end, 0, PAGE_SIZE, HOST_R), 0);
        assert_int_equal(host_space_map(s, own - PAGE_SIZE, 0, PAGE_SIZE, HOST_R), 0);
    }
    assert_int_equal(host_space_map(s, 0x10000001, 0, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0x10000000, 1, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0x10000000, 0, 0, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0x10000000, RAM_SIZE, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0x7ffffffff000, 0, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0xffff800000000000, 0, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_map(s, 0xfffffffffffff000, 0, PAGE_SIZE, HOST_R), -EINVAL);
    assert_int_equal(host_space_sync(s), 0);
    host_space_destroy(s);
}

/** What is one home's is the guest's in all others: data and code at both ends, in the middle. */
GUEST_CODE(add_code, "add $3, %rax; int3");
static void test_other_homes(void **state)
{
    (void)state;
    struct space *s = space_ready();
    struct space_range own[SPACE_OWN_MAX];
    unsigned pages = 0;
    CODE_PUT(add_code);
    for (unsigned home = 0; host_space_home(home, own) > 0; home++) {
        const struct space_range *span = &own[host_space_home(home, own) - 1];
        uint64_t stub = space_home_base(home);
        const uint64_t at[] = {span->gva,        stub,
                               stub + SPACE_CTL, stub + SPACE_SH,
                               stub + SPACE_ALT, span->gva + span->len - PAGE_SIZE,
                               stub - PAGE_SIZE, stub + SPACE_ZYGOTE,
                               0x100000,         0xffffe000};
        for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
            if (space_home_touched(s, at[i], PAGE_SIZE)) {
                continue;
            }
            struct space_regs r = regs_ready();
            r.rip = at[i];
            assert_int_equal(run(s, &r).event, SPACE_PAGE_FAULT);
            assert_int_equal(host_space_map(s, at[i], 0, PAGE_SIZE, HOST_R | HOST_X), 0);
            assert_int_equal(run(s, &r).vector, VEC_BP);
            assert_int_equal(r.gpr[RAX], 3);
            assert_int_equal(host_space_unmap(s, at[i], PAGE_SIZE), 0);
            pages++;
        }
    }
    assert_true(pages > 30);
    assert_int_equal(host_space_empty(s), 0);
    struct space_regs r = regs_ready();
    assert_int_equal(run(s, &r).event, SPACE_PAGE_FAULT);
    host_space_destroy(s);
}

/** Homes lie where guest pages can be, each within 2 MB, those of a kind apart. */
static void test_home_ranges(void **state)
{
    (void)state;
    struct space_range own[SPACE_OWN_MAX], other[SPACE_OWN_MAX];
    struct space *s;
    unsigned home = 0;
    for (int n; (n = host_space_home(home, own)) >= 0; home++) {
        assert_true(n > 0 && own[n - 1].gva < space_home_base(home));
        assert_true(space_home_base(home) + SPACE_RESERVED < own[n - 1].gva + own[n - 1].len);
        for (int i = 0; i < n; i++) {
            assert_int_equal(own[i].gva >> 21, (own[i].gva + own[i].len - 1) >> 21);
            assert_true(own[i].gva >= 0x100000 && own[i].gva + own[i].len < 1ull << 47);
        }
        for (unsigned earlier = 0; earlier < home; earlier++) {
            int m = host_space_home(earlier, other);
            assert_true(m != n || other[m - 1].gva != own[n - 1].gva);
        }
    }
    assert_int_equal(host_space_home(home + 1, own), -1);
    assert_int_equal(host_space_create(&test_vcpu, home, &s), -EINVAL);
    assert_null(s);
}

/** More mappings than the host allows a process: old ones go, the new one is there. A change of a
 * hole drops, too. */
static void test_mapping_limit(void **state)
{
    (void)state;
    struct space *s = space_ready();
    CODE_PUT(probe_read);
    for (unsigned i = 0; i < 70000; i++) {
        assert_int_equal(host_space_map(s, MODEL_GVA + i * 2 * PAGE_SIZE,
                                        MODEL_OFF + i % 512 * PAGE_SIZE, PAGE_SIZE, HOST_R),
                         0);
    }
    assert_int_equal(
        host_space_protect(s, MODEL_GVA + 2 * 69000 * PAGE_SIZE, 9 * PAGE_SIZE, HOST_R), 0);
    assert_int_equal(host_space_map(s, CODE_GVA, 0, PAGE_SIZE, HOST_R | HOST_X), 0);
    struct space_regs r = regs_ready();
    r.gpr[RDI] = MODEL_GVA + 69999 * 2 * PAGE_SIZE;
    assert_int_equal(run(s, &r).vector, VEC_BP);
    r = regs_ready();
    r.gpr[RDI] = MODEL_GVA;
    assert_int_equal(run(s, &r).vector, VEC_PF);
    host_space_destroy(s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_fetch_faults),
        cmocka_unit_test(test_beyond_the_end),
        cmocka_unit_test(test_cpuid),
        cmocka_unit_test(test_syscall_numbers),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_refused_registers),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_compat),
        cmocka_unit_test(test_mappings),
        cmocka_unit_test(test_refused_ranges),
        cmocka_unit_test(test_mapping_limit),
        cmocka_unit_test(test_other_homes),
        cmocka_unit_test(test_home_ranges),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(300);
    int failed = 0;
    RUN_IN_HOMES(tests, failed);
    return failed;
}
