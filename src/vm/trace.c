/* Implementation of trace.h. */
#include "vm/trace.h"
#include "base/log.h"
#include "host/host.h"

#define LINE_MAX 256u

void trace_flush(struct trace *t)
{
    host_trace_write(t->fd, t->text, t->used);
    t->used = 0;
}

void trace_event(struct vm *vm, const char *fmt, ...)
{
    struct trace *t = vm->trace;
    if (t->used + LINE_MAX + 32 > TRACE_BUFFER) {
        trace_flush(t);
    }
    uint64_t ns = host_time_ns() - t->start_ns;
    int n = fmt_line(t->text + t->used, 32, "%llu.%03u ", (unsigned long long)(ns / 1000), (unsigned)(ns % 1000));
    t->used += (uint32_t)n;
    va_list ap;
    va_start(ap, fmt);
    n = fmt_vline(t->text + t->used, LINE_MAX, fmt, ap);
    va_end(ap);
    t->used += (uint32_t)n;
    t->text[t->used++] = '\n';
}

const char *trace_class_name(unsigned cls)
{
    static const char *const name[CLS_COUNT] = {
        [CLS_UD] = "ud", [CLS_JMP_IND] = "jmp", [CLS_JMP_FAR] = "jmp-far", [CLS_CALL_IND] = "call", [CLS_CALL_FAR] = "call-far",
        [CLS_RET] = "ret", [CLS_RETF] = "retf", [CLS_IRET] = "iret", [CLS_INT3] = "int3", [CLS_INT1] = "int1", [CLS_INTN] = "int",
        [CLS_SYSCALL] = "syscall", [CLS_SYSRET] = "sysret", [CLS_SYSENTER] = "sysenter", [CLS_SYSEXIT] = "sysexit",
        [CLS_INS] = "ins", [CLS_OUTS] = "outs", [CLS_IN] = "in", [CLS_OUT] = "out", [CLS_PUSHF] = "pushf", [CLS_POPF] = "popf",
        [CLS_HLT] = "hlt", [CLS_STAC] = "stac", [CLS_CLAC] = "clac", [CLS_MOV_FROM_CR] = "mov-from-cr",
        [CLS_MOV_TO_CR] = "mov-to-cr", [CLS_MOV_FROM_DR] = "mov-from-dr", [CLS_MOV_TO_DR] = "mov-to-dr", [CLS_CLTS] = "clts",
        [CLS_LMSW] = "lmsw", [CLS_SMSW] = "smsw", [CLS_LGDT] = "lgdt", [CLS_LIDT] = "lidt", [CLS_SGDT] = "sgdt",
        [CLS_SIDT] = "sidt", [CLS_LLDT] = "lldt", [CLS_LTR] = "ltr", [CLS_SLDT] = "sldt", [CLS_STR] = "str", [CLS_LAR] = "lar",
        [CLS_LSL] = "lsl", [CLS_VERR] = "verr", [CLS_VERW] = "verw", [CLS_MOV_FROM_SEG] = "mov-from-seg",
        [CLS_MOV_TO_SEG] = "mov-to-seg", [CLS_PUSH_SEG] = "push-seg", [CLS_POP_SEG] = "pop-seg",
        [CLS_LOAD_FAR_PTR] = "load-far-pointer", [CLS_SWAPGS] = "swapgs", [CLS_RDFSBASE] = "rdfsbase",
        [CLS_RDGSBASE] = "rdgsbase", [CLS_WRFSBASE] = "wrfsbase", [CLS_WRGSBASE] = "wrgsbase", [CLS_INVLPG] = "invlpg",
        [CLS_INVPCID] = "invpcid", [CLS_INVD] = "invd", [CLS_WBINVD] = "wbinvd", [CLS_CPUID] = "cpuid", [CLS_RDTSCP] = "rdtscp",
        [CLS_RDPMC] = "rdpmc", [CLS_RDPID] = "rdpid", [CLS_RDMSR] = "rdmsr", [CLS_WRMSR] = "wrmsr", [CLS_XGETBV] = "xgetbv",
        [CLS_XSETBV] = "xsetbv", [CLS_XSAVE] = "xsave", [CLS_XRSTOR] = "xrstor", [CLS_MONITOR] = "monitor",
        [CLS_MWAIT] = "mwait", [CLS_RDPKRU] = "rdpkru", [CLS_WRPKRU] = "wrpkru", [CLS_VMCALL] = "vmcall", [CLS_VMX] = "vmx",
    };
    return cls < CLS_COUNT && name[cls] ? name[cls] : "other";
}
