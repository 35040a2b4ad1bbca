/* Loading the kernel's modules: those that the devices of this machine ask for, and no others.
 *
 * /lib/modules/RELEASE holds the few modules of the default guest's own kernel that can matter in a
 * virtual machine, with the usual modules.dep and modules.alias (tools/guest-packages makes them).
 * Under another kernel there is no such folder, and nothing happens.
 */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DEPENDENCIES_MAX 32

/* The path of a file in our kernel's folder. */
static void in_folder(char *path, size_t size, const char *name)
{
    struct utsname u;
    uname(&u);
    snprintf(path, size, "/lib/modules/%s/%s", u.release, name);
}

/* Whether a path of modules.dep is this module's. */
static bool same_module(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    size_t len = strlen(name);
    return strncmp(file, name, len) == 0 && strcmp(file + len, ".ko") == 0;
}

/* Put one file of the folder into the kernel. */
static void insert(const char *file)
{
    char path[512];
    in_folder(path, sizeof(path), file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)) {
        fprintf(stderr, "ring3 guest: %s: %s\n", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

void modules_load(const char *name)
{
    char path[512];
    in_folder(path, sizeof(path), "modules.dep");
    char *text = init_read_file(path, NULL), *lines = text, *line;
    while ((line = strsep(&lines, "\n"))) {
        char *rest = strchr(line, ':');
        if (!rest) {
            continue;
        }
        *rest++ = '\0';
        if (!same_module(line, name)) {
            continue;
        }
        /* What it needs is listed so that the last one needs none of the others. */
        char *needed[DEPENDENCIES_MAX], *word;
        int n = 0;
        while (n < DEPENDENCIES_MAX && (word = strsep(&rest, " "))) {
            if (*word) {
                needed[n++] = word;
            }
        }
        while (n > 0) {
            insert(needed[--n]);
        }
        insert(line);
    }
    free(text);
}

/* Load each module that claims a device of this kind: lines "alias PATTERN MODULE". */
static void load_for(const char *modalias, void *ctx)
{
    const char *aliases = ctx;
    char pattern[256], module[64];
    for (const char *line = aliases; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "alias %255s %63s", pattern, module) == 2 &&
            fnmatch(pattern, modalias, 0) == 0) {
            modules_load(module);
        }
    }
}

/* Call fn with the modalias of each device in a folder of sysfs. Returns how many there are. */
static unsigned for_each_device(const char *devices, void (*fn)(const char *modalias, void *ctx),
                                void *ctx)
{
    char path[512];
    unsigned count = 0;
    DIR *dir = opendir(devices);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s/modalias", devices, e->d_name);
        char *modalias = e->d_name[0] == '.' ? NULL : init_read_file(path, NULL);
        if (modalias) {
            modalias[strcspn(modalias, "\n")] = '\0';
            fn(modalias, ctx);
            free(modalias);
            count++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

void modules_for_bus(const char *devices)
{
    char path[512];
    in_folder(path, sizeof(path), "modules.alias");
    char *aliases = init_read_file(path, NULL);
    if (aliases) {
        for_each_device(devices, load_for, aliases);
        free(aliases);
    }
}

/* Whether a device is a virtio network card, disk or file system. */
static void look_at(const char *modalias, void *ctx)
{
    static const char *const patterns[] = {"pci:v00001AF4d00001041*", "pci:v00001AF4d00001042*",
                                           "pci:v00001AF4d0000105A*"};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        if (fnmatch(patterns[i], modalias, 0) == 0) {
            *(bool *)ctx = true;
        }
    }
}

static void nothing(const char *modalias, void *ctx)
{
    (void)modalias;
    (void)ctx;
}

void modules_check(void)
{
    bool wanted = false;
    for_each_device("/sys/bus/pci/devices", look_at, &wanted);
    if (wanted && for_each_device("/sys/bus/virtio/devices", nothing, NULL) == 0) {
        struct utsname u;
        uname(&u);
        fprintf(stderr,
                "ring3 guest: no disks, network or shared directories: the default guest has no "
                "drivers for kernel %s\n",
                u.release);
    }
}
