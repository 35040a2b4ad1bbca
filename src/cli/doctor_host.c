/* What of the host kernel and processor ring3 uses: each feature tried where it can be, read where
 * it cannot.
 *
 * Trials that change a process for good (seccomp, namespaces, CPUID faulting) or may kill it run in
 * a child. Every check gives one struct check; a remedy is a command wherever one helps.
 */
#include "cli/doctor.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "base/types.h"
#include "host/linux/namespaces.h"

#define ARCH_CPUID_SET 0x1012
#define MAPS_WANTED 65530
#define PROCESSES_WANTED 500
#define HWCAP2_FSGSBASE 2u /* <asm/hwcap2.h> */
#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3 */
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define FEATURE(l, s, r, b)                                                                        \
    ((struct probe_feature){.leaf = (l), .subleaf = (s), .reg = (r), .bit = (b)})

/* Add a check to the report, and return it. */
static struct check *add(struct doctor_report *r, const char *id, enum check_status status,
                         const char *fmt, ...) PRINTF_LIKE(4, 5);

static struct check *add(struct doctor_report *r, const char *id, enum check_status status,
                         const char *fmt, ...)
{
    bool full = r->check_count == ARRAY_LEN(r->checks);
    struct check *c = &r->checks[full ? r->check_count - 1 : r->check_count++];
    va_list ap;

    memset(c, 0, sizeof(*c));
    snprintf(c->id, sizeof(c->id), "%s", id);
    c->status = status;
    va_start(ap, fmt);
    vsnprintf(c->value, sizeof(c->value), fmt, ap);
    va_end(ap);
    return c;
}

static void remedy(struct check *c, const char *text)
{
    snprintf(c->remedy, sizeof(c->remedy), "%s", text);
}

/* First line of a small file, without the newline. false when it cannot be read. */
static bool read_line(const char *path, char *buf, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok;

    if (!f)
        return false;
    ok = fgets(buf, (int)size, f) != NULL;
    fclose(f);
    if (ok)
        buf[strcspn(buf, "\n")] = '\0';
    return ok;
}

/* The number in a small file, or -1. */
static long read_number(const char *path)
{
    char line[64];

    return read_line(path, line, sizeof(line)) ? strtol(line, NULL, 10) : -1;
}

/* The word in [brackets] of a small file that lists choices. */
static void read_choice(const char *path, char *buf, size_t size)
{
    char line[128];
    const char *open;

    snprintf(buf, size, "not built in");
    if (!read_line(path, line, sizeof(line)))
        return;
    open = strchr(line, '[');
    if (open)
        snprintf(buf, size, "%.*s", (int)strcspn(open + 1, "]"), open + 1);
}

/* ---- the processor ---- */

static void brand(char *buf, size_t size)
{
    uint32_t words[12] = {0};
    const char *start = (const char *)words;

    snprintf(buf, size, "unnamed processor");
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t *w = &words[4 * i];

        if (!__get_cpuid(0x80000002 + i, &w[0], &w[1], &w[2], &w[3]))
            return;
    }
    while (*start == ' ' && start < (const char *)words + sizeof(words) - 1)
        start++;
    snprintf(buf, size, "%.*s", (int)((const char *)words + sizeof(words) - start), start);
}

static void check_cpu(struct doctor_report *r)
{
    uint32_t a = 0, b, c, d;
    unsigned family, model;
    cpu_set_t set;
    char name[64];

    brand(name, sizeof(name));
    __get_cpuid(1, &a, &b, &c, &d);
    family = (unsigned)bits(a, 8, 4);
    model = (unsigned)bits(a, 4, 4);
    if (family == 6 || family == 15)
        model |= (unsigned)bits(a, 16, 4) << 4;
    if (family == 15)
        family += (unsigned)bits(a, 20, 8);
    add(r, "cpu", CHECK_INFO, "%s (family %#x model %#x stepping %u)", name, family, model, a & 15);
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    add(r, "cpus", CHECK_INFO, "%ld online, %d usable by this process",
        sysconf(_SC_NPROCESSORS_ONLN), CPU_COUNT(&set));
}

/* Who runs beneath this host: the hypervisor's signature, "" on bare hardware. */
static void hypervisor_signature(char sig[13])
{
    uint32_t a, regs[3];

    memset(sig, 0, 13);
    if (!doctor_cpuid_bit(FEATURE(1, 0, 'c', 31)))
        return;
    __cpuid(0x40000000, a, regs[0], regs[1], regs[2]);
    memcpy(sig, regs, 12);
    for (size_t i = 0; i < 12 && sig[i]; i++) {
        if (sig[i] < ' ' || sig[i] > '~')
            sig[i] = '?';
    }
    if (!sig[0])
        memcpy(sig, "unnamed", 8);
}

static void check_hypervisor(struct doctor_report *r)
{
    char sig[13];

    hypervisor_signature(sig);
    if (sig[0])
        add(r, "hypervisor beneath", CHECK_INFO, "%s: this host is itself a virtual machine", sig);
    else
        add(r, "hypervisor beneath", CHECK_INFO, "none announced");
}

static void check_fsgsbase(struct doctor_report *r)
{
    if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) {
        add(r, "fsgsbase", CHECK_OK, "usable in user mode");
    } else if (doctor_cpuid_bit(FEATURE(7, 0, 'b', 0))) {
        remedy(
            add(r, "fsgsbase", CHECK_MISSING, "the processor has it, the host kernel keeps it off"),
            "use Linux 5.9 or newer, and take `nofsgsbase` off the host's kernel command line");
    } else {
        remedy(add(r, "fsgsbase", CHECK_MISSING, "the processor does not have it"),
               "none on this processor (Intel from Ivy Bridge, AMD from Excavator); in a VM, "
               "expose it");
    }
}

static int try_cpuid_fault(void)
{
    return syscall(SYS_arch_prctl, ARCH_CPUID_SET, 0) == 0 ? 0 : 1;
}

/* Whether UMIP is on shows in what sgdt did, not in CPUID: the host kernel may have left it off. */
static void check_umip(struct doctor_report *r)
{
    const struct probe_result *sgdt = doctor_result(r, "sgdt");

    if (sgdt->outcome == PROBE_EMULATED)
        add(r, "umip", CHECK_OK, "on: sgdt, sidt, smsw give user code nothing of the host's");
    else if (sgdt->outcome == PROBE_TRAPS)
        add(r, "umip", CHECK_OK, "on, and the host kernel lets the traps through");
    else if (doctor_cpuid_bit(FEATURE(7, 0, 'c', 2)))
        remedy(add(r, "umip", CHECK_WARN, "the processor has it, the host kernel keeps it off"),
               "take `clearcpuid=umip` off the host's kernel command line");
    else
        remedy(add(r, "umip", CHECK_WARN,
                   "not there: guest user code can read where the host's tables are"),
               "none on this processor; in a VM, expose it");
}

static void check_cpuid_faulting(struct doctor_report *r)
{
    if (doctor_in_child(try_cpuid_fault) == 0)
        add(r, "cpuid faulting", CHECK_OK,
            "available: guest user code can be given the guest's CPUID");
    else
        remedy(add(r, "cpuid faulting", CHECK_INFO,
                   "not available: guest user code reads the host's CPUID"),
               "none on this processor; guests run without it (docs/limits.md)");
}

static void check_xstate(struct doctor_report *r)
{
    uint32_t enabled = 0, all = 0, a, b, c, d, xcr0, high;
    char parts[96] = "";

    if (!doctor_cpuid_bit(FEATURE(1, 0, 'c', 27))) {
        bool there = doctor_cpuid_bit(FEATURE(1, 0, 'c', 26));

        remedy(add(r, "xsave", CHECK_MISSING, "the %s",
                   there ? "host kernel keeps it off" : "processor does not have it"),
               there ? "take `noxsave` off the host's kernel command line"
                     : "none on this processor; in a VM, expose it");
        return;
    }
    __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    __get_cpuid_count(13, 0, &a, &enabled, &all, &d);
    if ((xcr0 & 0xe0) == 0xe0) {
        uint32_t opmask = 0, hi256 = 0, hi16 = 0;

        __get_cpuid_count(13, 5, &opmask, &b, &c, &d);
        __get_cpuid_count(13, 6, &hi256, &b, &c, &d);
        __get_cpuid_count(13, 7, &hi16, &b, &c, &d);
        snprintf(parts, sizeof(parts), ", AVX-512 %u", opmask + hi256 + hi16);
    }
    if (bit(xcr0, 18)) {
        size_t len = strlen(parts);
        uint32_t tiles = 0;

        __get_cpuid_count(13, 18, &tiles, &b, &c, &d);
        snprintf(parts + len, sizeof(parts) - len, ", AMX tiles %u (on request)", tiles);
    }
    add(r, "xsave", CHECK_OK, "XCR0 %#llx, %u bytes%s", (unsigned long long)high << 32 | xcr0,
        enabled, parts);
    add(r, "signal frame", CHECK_INFO, "AT_MINSIGSTKSZ %lu bytes", getauxval(AT_MINSIGSTKSZ));
}

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("lfence\nrdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static uint64_t raw_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void check_tsc(struct doctor_report *r)
{
    bool invariant = doctor_cpuid_bit(FEATURE(0x80000007, 0, 'd', 8));
    char source[32] = "unknown";
    struct check *c;
    uint64_t ns = raw_ns(), tsc = rdtsc();

    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    tsc = rdtsc() - tsc;
    ns = raw_ns() - ns;
    read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
              sizeof(source));
    c = add(r, "tsc", invariant ? CHECK_OK : CHECK_WARN,
            "%s, measured %llu MHz; the host's clock source: %s",
            invariant ? "invariant (constant, nonstop)" : "not announced as invariant",
            (unsigned long long)(tsc * 1000 / (ns ? ns : 1)), source);
    if (!invariant)
        remedy(c, "none: guests keep time with kvmclock; in a VM, expose invtsc");
}

/* ---- the host kernel ---- */

static void check_kernel(struct doctor_report *r)
{
    struct utsname u;
    int major = 0, minor = 0;

    uname(&u);
    sscanf(u.release, "%d.%d", &major, &minor);
    if (major > 5 || (major == 5 && minor >= 10))
        add(r, "kernel", CHECK_OK, "%s %s", u.sysname, u.release);
    else
        remedy(add(r, "kernel", CHECK_WARN, "%s %s: older than what ring3 is tested on", u.sysname,
                   u.release),
               "use Linux 5.10 or newer");
}

static void on_sigsys(int signo)
{
    (void)signo;
    _exit(0);
}

/* 0: a filter stops a call with SIGSYS; 1: it cannot be installed; 2: installed, and the call went
 * through. */
static int try_seccomp(void)
{
    signal(SIGSYS, on_sigsys);
    if (doctor_seccomp_trap() < 0)
        return 1;
    syscall(SYS_getppid);
    return 2;
}

static void check_seccomp(struct doctor_report *r)
{
    if (doctor_in_child(try_seccomp) == 0)
        add(r, "seccomp filter", CHECK_OK, "stops a system call with SIGSYS");
    else
        remedy(add(r, "seccomp filter", CHECK_MISSING,
                   "a filter cannot be installed, or does not trap"),
               "use a kernel with CONFIG_SECCOMP_FILTER; in a container: --security-opt "
               "seccomp=unconfined");
}

static void check_maps(struct doctor_report *r)
{
    long n = read_number("/proc/sys/vm/max_map_count");

    if (n < 0)
        add(r, "vm.max_map_count", CHECK_WARN, "cannot be read");
    else if (n >= MAPS_WANTED)
        add(r, "vm.max_map_count", CHECK_OK, "%ld", n);
    else
        remedy(add(r, "vm.max_map_count", CHECK_WARN, "%ld: less than %d, more evictions", n,
                   MAPS_WANTED),
               "sudo sysctl -w vm.max_map_count=65530");
}

/* 0: code in a memfd can be written through one mapping and run through another. */
static int try_memfd(void)
{
    static const uint8_t ret = 0xc3;
    int fd = memfd_create("ring3-doctor", MFD_CLOEXEC | MFD_EXEC);
    void *w, *x;

    if (fd < 0 && errno == EINVAL) /* older than MFD_EXEC */
        fd = memfd_create("ring3-doctor", MFD_CLOEXEC);
    if (fd < 0)
        return 1;
    if (ftruncate(fd, PAGE_SIZE) < 0)
        return 2;
    w = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    x = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (w == MAP_FAILED || x == MAP_FAILED)
        return 3;
    memcpy(w, &ret, sizeof(ret));
    __asm__ volatile("call *%0" ::"r"(x) : "memory");
    return 0;
}

static void check_memfd(struct doctor_report *r)
{
    long noexec = read_number("/proc/sys/vm/memfd_noexec");
    char level[48] = "";

    if (noexec >= 0)
        snprintf(level, sizeof(level), " (vm.memfd_noexec=%ld)", noexec);
    if (doctor_in_child(try_memfd) == 0)
        add(r, "memfd, executable", CHECK_OK, "runs code%s", level);
    else
        remedy(add(r, "memfd, executable", CHECK_MISSING,
                   "guest RAM could not be mapped executable%s", level),
               noexec > 0
                   ? "sudo sysctl -w vm.memfd_noexec=0"
                   : "allow it in the security policy (SELinux: sudo setsebool deny_execmem 0)");
}

/* Places in the window the bt engine puts the guest's addresses in (DESIGN §4.1). 0: all can be
 * mapped; else 1 + the number of the first that cannot. */
static int try_window(void)
{
    static const uint64_t places[] = {0x0000008000000000, 0x000049d800000000, 0x000077ff81000000,
                                      0x0000780000200000, 0x00007bff00000000};

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        void *p = mmap((void *)places[i], PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

        if (p != (void *)places[i])
            return (int)i + 1;
    }
    return 0;
}

static void check_address_space(struct doctor_report *r)
{
    long min = read_number("/proc/sys/vm/mmap_min_addr");
    struct rlimit as = {.rlim_cur = RLIM_INFINITY};

    getrlimit(RLIMIT_AS, &as);
    if (doctor_in_child(try_window) != 0)
        remedy(add(r, "address space", CHECK_MISSING, "the window's addresses cannot be mapped"),
               "run ring3 as a plain process, not under a tool that reserves address space");
    else if (as.rlim_cur != RLIM_INFINITY)
        remedy(add(r, "address space", CHECK_WARN, "limited to %llu MB; guest RAM is mapped often",
                   (unsigned long long)as.rlim_cur >> 20),
               "ulimit -v unlimited");
    else
        add(r, "address space", CHECK_OK, "the window for the guest's upper half can be mapped");
    if (min >= 0 && min <= 65536)
        add(r, "vm.mmap_min_addr", CHECK_OK, "%ld", min);
    else
        remedy(add(r, "vm.mmap_min_addr", CHECK_WARN, "%ld: guest programs linked low cannot run",
                   min),
               "sudo sysctl -w vm.mmap_min_addr=65536");
}

static void check_resources(struct doctor_report *r)
{
    struct rlimit procs = {.rlim_cur = RLIM_INFINITY};
    long page = sysconf(_SC_PAGESIZE);

    add(r, "memory", CHECK_INFO, "%ld MB, %ld MB of it free",
        sysconf(_SC_PHYS_PAGES) / 1024 * page / 1024,
        sysconf(_SC_AVPHYS_PAGES) / 1024 * page / 1024);
    getrlimit(RLIMIT_NPROC, &procs);
    if (procs.rlim_cur == RLIM_INFINITY)
        add(r, "processes", CHECK_OK, "not limited");
    else if (procs.rlim_cur >= PROCESSES_WANTED)
        add(r, "processes", CHECK_OK, "limited to %llu", (unsigned long long)procs.rlim_cur);
    else
        remedy(add(r, "processes", CHECK_WARN, "limited to %llu: a guest process can need one each",
                   (unsigned long long)procs.rlim_cur),
               "ulimit -u 1000");
}

static int try_userns(void)
{
    return unshare(CLONE_NEWUSER) == 0 ? 0 : 1;
}

static void check_policies(struct doctor_report *r)
{
    long yama = read_number("/proc/sys/kernel/yama/ptrace_scope");
    char thp[32], shmem[32], names[64];

    add(r, "user namespaces", CHECK_INFO, "%s",
        doctor_in_child(try_userns) == 0 ? "available" : "not available: passt (--net user) needs them");
    namespaces_describe(namespaces_try(), names, sizeof(names));
    add(r, "isolation", CHECK_INFO, "seccomp; namespaces: %s", *names ? names : "none allowed here");
    if (yama < 0)
        add(r, "yama", CHECK_INFO, "not active");
    else
        add(r, "yama", CHECK_INFO, "ptrace_scope %ld (ring3 does not use ptrace)", yama);
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof(thp));
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem, sizeof(shmem));
    add(r, "huge pages", CHECK_INFO, "transparent: %s; in shared memory (guest RAM): %s", thp,
        shmem);
}

/* ---- /dev/kvm and what stands behind it ---- */

/* What to load for a processor that has the feature. NULL: CPUID announces neither. */
static const char *kvm_remedy(void)
{
    if (doctor_cpuid_bit(FEATURE(1, 0, 'c', 5)))
        return "sudo modprobe kvm_intel";
    if (doctor_cpuid_bit(FEATURE(0x80000001, 0, 'c', 2)))
        return "sudo modprobe kvm_amd";
    return NULL;
}

/* Without the processor's help KVM's interface can still be there: a PVM host, whose guests must
 * be kernels made for it; stock ones run, but hundreds of times too slow. */
static void check_kvm_software(struct doctor_report *r, int err, int version)
{
    bool pvm = access("/sys/module/kvm_pvm", F_OK) == 0;

    if (err == ENOENT)
        add(r, "/dev/kvm", CHECK_INFO, "not there");
    else if (err)
        add(r, "/dev/kvm", CHECK_INFO, "there, but not to be opened (%s); no vmx/svm: not used",
            strerror(err));
    else
        add(r, "/dev/kvm", CHECK_WARN,
            "API version %d, but no vmx/svm: a software PVM host%s, where unmodified kernels crawl: "
            "not used",
            version, pvm ? " (kvm_pvm)" : "");
}

static void check_kvm(struct doctor_report *r)
{
    const char *load = kvm_remedy();
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), err = fd < 0 ? errno : 0;
    int version = fd < 0 ? -1 : ioctl(fd, KVM_GET_API_VERSION, 0);

    if (fd >= 0)
        close(fd);
    add(r, "vmx/svm", CHECK_INFO, "%s",
        load ? "announced: hardware virtualization"
             : "neither: no hardware virtualization for this kernel; the bt engine needs none");
    if (!load)
        check_kvm_software(r, err, version);
    else if (err)
        remedy(add(r, "/dev/kvm", CHECK_INFO, "%s (the bt engine does not use it)", strerror(err)),
               err == EACCES || err == EPERM ? "sudo usermod -aG kvm $USER   # then log in again"
                                             : load);
    else if (version < 0)
        add(r, "/dev/kvm", CHECK_WARN, "opens, but does not answer as KVM does");
    else
        add(r, "/dev/kvm", CHECK_OK, "API version %d, on hardware virtualization", version);
}

void doctor_host_checks(struct doctor_report *r)
{
    r->check_count = 0;
    check_cpu(r);
    check_hypervisor(r);
    check_kernel(r);
    check_fsgsbase(r);
    check_umip(r);
    check_cpuid_faulting(r);
    check_xstate(r);
    check_tsc(r);
    check_seccomp(r);
    check_maps(r);
    check_memfd(r);
    check_address_space(r);
    check_resources(r);
    check_policies(r);
    check_kvm(r);
}

const char *check_status_name(enum check_status s)
{
    static const char *const names[CHECK_STATUSES] = {
        [CHECK_OK] = "ok",
        [CHECK_INFO] = "info",
        [CHECK_WARN] = "warn",
        [CHECK_MISSING] = "missing",
    };

    return names[s];
}
