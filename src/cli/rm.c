/* ring3 rm: remove what is left of machines that have ended. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { FORCE };
static const struct args_option options[] = {
    [FORCE] = {"--force", "-f", NULL},
    {0},
};

static int remove_one(const struct vms *v, const struct vm_entry *e, void *ctx)
{
    const bool *force = ctx;
    char what[128];
    if (vm_alive(e) && *force) {
        int status = kill_machine(v, e);
        if (status) {
            return status;
        }
    }
    int failed = vm_remove(&v->base, e->name);
    if (failed == -EBUSY) {
        vms_say(v, e, "it is running; 'ring3 stop' stops it, 'ring3 rm -f' kills it first");
        return CLI_FAILED;
    }
    if (failed && failed != -ENOENT) { /* one that was not detached goes by itself */
        snprintf(what, sizeof(what), "cannot be removed: %s", strerror(-failed));
        vms_say(v, e, what);
        return CLI_FAILED;
    }
    puts(e->name);
    return 0;
}

int rm_main(int argc, char **argv)
{
    struct args a;
    struct vms v;
    int status = vms_begin(argc, argv, options, VMS_WHOLE_NAMES, &a, &v);
    if (status >= 0) {
        return status;
    }
    bool force = a.value[FORCE] != NULL;
    status = vms_each(&v, a.words, a.count, remove_one, &force);
    vms_close(&v);
    return status;
}
