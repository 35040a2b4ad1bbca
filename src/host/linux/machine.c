/* Building a machine. Runs once per machine, in the monitor, before any vCPU task. */
#include "host/linux/machine.h"

#include "boot/linux.h"
#include "dev/acpi/acpi.h"
#include "dev/power.h"
#include "host/host.h"
#include "host/linux/arena.h"
#include "host/linux/host_error.h"
#include "irq/ioapic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAPIC_BASE 0xfee00000ull

/* ---- files ---- */

/* A file in memory: mapped if it is a regular one. */
struct file {
    void *bytes;
    size_t len;
};

static int open_file(const char *path, const char *what, struct stat *st, struct boot_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st) != 0) {
        fmt_line(err->text, sizeof(err->text), "cannot read the %s %s: %s", what, path,
                 errno == EMFILE ? host_error(errno) : strerror(errno));
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        fmt_line(err->text, sizeof(err->text), "the %s %s is not a regular file", what, path);
        close(fd);
        return -1;
    }
    return fd;
}

static int map_file(const char *path, const char *what, struct file *f, struct boot_error *err)
{
    struct stat st;
    int fd = open_file(path, what, &st, err);
    if (fd < 0) {
        return -1;
    }
    *f = (struct file){.len = (size_t)st.st_size};
    if (f->len) {
        f->bytes = mmap(NULL, f->len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    }
    int why = errno;
    close(fd);
    if (f->bytes == MAP_FAILED) {
        fmt_line(err->text, sizeof(err->text), "cannot map the %s %s: %s", what, path,
                 strerror(why));
        return -1;
    }
    return 0;
}

static void unmap_file(struct file *f)
{
    if (f->len) {
        munmap(f->bytes, f->len);
    }
}

/* ---- kernel and initrd ---- */

static int load_kernel(const struct machine_config *cfg, struct machine_facts *facts,
                       struct boot_error *err)
{
    struct file f;
    if (map_file(cfg->kernel, "kernel", &f, err)) {
        return -1;
    }
    struct kernel_file kernel = {.bytes = f.bytes, .len = f.len, .name = cfg->kernel};
    facts->kernel_file_len = f.len;
    int failed = kernel_image_load(&ARENA->vm.ram, &kernel, &facts->kernel, err);
    unmap_file(&f);
    return failed ? -1 : 0;
}

/* Read exactly len bytes of an open file. */
static int read_exactly(int fd, uint8_t *to, uint64_t len)
{
    while (len) {
        ssize_t n = read(fd, to, len);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return n < 0 ? -errno : -EIO;
        }
        if (n > 0) {
            to += n;
            len -= (uint64_t)n;
        }
    }
    return 0;
}

/* The initrd file and, after it, the extra archive, at the place the loader chooses. The archive
 * begins at a multiple of 4 bytes; the kernel skips zeros between archives. */
static int load_initrd(const struct machine_config *cfg, struct machine_facts *facts, gpa_t *at,
                       struct boot_error *err)
{
    struct stat st = {0};
    int fd = -1;
    *at = gpa(0);
    if (cfg->initrd) {
        fd = open_file(cfg->initrd, "initrd", &st, err);
        if (fd < 0) {
            return -1;
        }
    }
    uint64_t file_len = (uint64_t)st.st_size;
    uint64_t extra_at = align_up(file_len, 4);
    facts->initrd_len = cfg->extra_len ? extra_at + cfg->extra_len : file_len;
    int failed = 0;
    if (facts->initrd_len) {
        const char *name = cfg->initrd ? cfg->initrd : "initramfs";
        failed =
            boot_place_initrd(&ARENA->vm.ram, &facts->kernel, facts->initrd_len, name, at, err);
    }
    if (!failed && facts->initrd_len) {
        uint8_t *to = ram_span(&ARENA->vm.ram, *at, facts->initrd_len);
        failed = file_len ? read_exactly(fd, to, file_len) : 0;
        if (failed) {
            fmt_line(err->text, sizeof(err->text), "cannot read the initrd %s: %s", cfg->initrd,
                     strerror(-failed));
        } else if (cfg->extra_len) {
            memcpy(to + extra_at, cfg->extra, cfg->extra_len);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return failed ? -1 : 0;
}

static int build_acpi(unsigned cpus, gpa_t *rsdp, struct boot_error *err)
{
    struct acpi_config acpi = {
        .area = gpa(LAYOUT_ACPI),
        .area_size = LAYOUT_ACPI_SIZE,
        .cpus = cpus,
        .lapic_base = gpa(LAPIC_BASE),
        .ioapic_base = gpa(IOAPIC_BASE),
        .ecam_base = gpa(PCI_ECAM_BASE),
        .ecam_buses = PCI_ECAM_BUSES,
        .mmio_base = gpa(PCI_MMIO_BASE),
        .mmio_size = PCI_MMIO_SIZE,
        .com1_port = SERIAL_PORT,
        .com1_gsi = SERIAL_IRQ,
        .sleep_control_port = POWER_SLEEP_CONTROL,
        .sleep_status_port = POWER_SLEEP_STATUS,
        .reset_port = POWER_RESET,
        .reset_value = POWER_RESET_VALUE,
        .power_button_gsi = VM_POWER_BUTTON_GSI,
    };
    int failed = acpi_build(&ARENA->vm.ram, &acpi, rsdp);
    if (failed) {
        fmt_line(err->text, sizeof(err->text), "the ACPI tables cannot be written: %s",
                 strerror(-failed));
    }
    return failed;
}

/* ---- processors ---- */

static int create_vcpus(struct vm *vm, const struct machine_config *cfg)
{
    vm->engine = cfg->engine;
    vm->cpu_count = cfg->cpus;
    for (unsigned i = 0; i < cfg->cpus; i++) {
        vm->vcpu[i] = arena_alloc(sizeof(struct vcpu));
        if (!vm->vcpu[i]) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* After vm_init: each vCPU knows its machine and local APIC. */
static void reset_vcpus(struct vm *vm, const struct boot_entry *entry)
{
    struct vcpu_cpuid_config cpuid = {
        .host_cpuid = host_cpuid,
        .host_xcr0 = host_xcr0(),
        .cpu_count = vm->cpu_count,
        .tsc_khz = vm->tsc_khz,
        .deprivileged = strcmp(vm->engine->name, "kvm") != 0,
        .cpuid_faulting = false,
    };
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        vcpu_cpuid_init(vm->vcpu[i], &cpuid);
        vcpu_reset(vm->vcpu[i]);
    }
    struct vcpu_entry64 first = {
        .rip = entry->rip,
        .rsi = entry->rsi,
        .rsp = entry->rsp,
        .cr3 = entry->cr3,
        .gdtr = {.base = entry->gdt_base, .limit = entry->gdt_limit},
        .code_sel = entry->cs,
        .data_sel = entry->ds,
    };
    vcpu_set_entry64(vm->vcpu[0], &first);
}

int machine_build(const struct machine_config *cfg, const struct tsc_point *started,
                  struct machine_facts *facts, struct boot_error *err)
{
    struct vm *vm = &ARENA->vm;
    uint8_t seed[BOOT_RNG_SEED_LEN];
    struct boot_config boot = {.cmdline = cfg->cmdline, .rng_seed = seed};
    struct boot_entry entry;

    *facts = (struct machine_facts){0};
    if (load_kernel(cfg, facts, err) || load_initrd(cfg, facts, &boot.initrd, err) ||
        build_acpi(cfg->cpus, &boot.acpi_rsdp, err)) {
        return -1;
    }
    boot.initrd_len = facts->initrd_len;
    host_random(seed, sizeof(seed));
    if (boot_setup(&vm->ram, &facts->kernel, &boot, &entry, err)) {
        return -1;
    }
    if (create_vcpus(vm, cfg)) {
        fmt_line(err->text, sizeof(err->text), "no room for %u vCPUs", cfg->cpus);
        return -1;
    }
    vm->tsc_khz = facts->tsc_khz = tsc_khz(started);
    vm_init(vm);
    reset_vcpus(vm, &entry);
    return 0;
}
