/* ring3 pause, ring3 resume: hold machines and let them go on. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"

static const struct args_option options[] = {{0}};

static int tell(const struct vms *v, const struct vm_entry *e, void *ctx)
{
    return vms_tell(v, e, ctx);
}

static int tell_all(int argc, char **argv)
{
    struct args a;
    struct vms v;
    int status = vms_begin(argc, argv, options, VMS_WHOLE_NAMES, &a, &v);
    if (status >= 0) {
        return status;
    }
    status = vms_each_alive(&v, a.words, a.count, tell, argv[0]); /* the request is named as the verb */
    vms_close(&v);
    return status;
}

int pause_main(int argc, char **argv)
{
    return tell_all(argc, argv);
}

int resume_main(int argc, char **argv)
{
    return tell_all(argc, argv);
}
