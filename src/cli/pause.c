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
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_words(&a, 1, (size_t)argc, "the name of a machine");
    if (status) {
        return status;
    }
    status = vms_open(&v, a.verb);
    if (!status) { /* the request is named as the verb */
        status = vms_each_alive(&v, a.words, a.count, tell, argv[0]);
    }
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
