/* From a configuration to a machine in the arena, ready to run: files read, kernel and initrd
 * loaded, tables written, the boot processor in its first state.
 */
#ifndef HOST_LINUX_MACHINE_H
#define HOST_LINUX_MACHINE_H

#include "boot/error.h"
#include "boot/kernel_image.h"
#include "engine/engine.h"
#include "host/linux/tsc.h"

#define MACHINE_RAM_MIN (4ull << 20)

/** What to build. Strings are borrowed for the time of the calls that take this. */
struct machine_config {
    const char *kernel; /* path */
    const char *initrd; /* path, or NULL */
    const void *extra;  /* a cpio archive to put after the initrd, or NULL */
    size_t extra_len;
    const char *cmdline;
    uint64_t ram_size; /* bytes, a multiple of the page, MACHINE_RAM_MIN..RAM_MAX */
    unsigned cpus;
    const struct engine *engine;
};

/** What was found on the way, for people to read. */
struct machine_facts {
    struct kernel_image kernel;
    uint64_t kernel_file_len;
    uint64_t initrd_len; /* with the extra archive */
    uint32_t tsc_khz;
};

/** Build the machine in the arena, which exists and is fresh. `started` is an early reading of
 * clock and counter. 0, or -1 with *err saying what is wrong and what to do. */
int machine_build(const struct machine_config *cfg, const struct tsc_point *started,
                  struct machine_facts *facts, struct boot_error *err) MUST_CHECK;

#endif
