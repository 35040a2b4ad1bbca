/* Directories of the host's: virtio-fs devices, mounted where ring3 said. */
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* mkdir -p; path is absolute. What goes wrong shows when it is mounted. */
static void make_folder(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    mkdir(path, 0755);
}

bool shares_mount(char *const *words)
{
    bool good = true;
    for (; words && words[0] && words[1] && words[2]; words += 3) {
        unsigned long flags = strcmp(words[2], "ro") == 0 ? MS_RDONLY : 0;
        make_folder(words[1]);
        if (mount(words[0], words[1], "virtiofs", flags, NULL) != 0) {
            fprintf(stderr, "ring3 guest: the host's directory for %s cannot be mounted: %s\n",
                    words[1], errno == ENODEV ? "this kernel has no virtio-fs" : strerror(errno));
            good = false;
        }
    }
    return good;
}
