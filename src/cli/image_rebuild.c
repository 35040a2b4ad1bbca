/* ring3 image rebuild: the good leg of a mirror over the other one. */
#include "cli/image.h"

#include "block/mirror.h"

#include <stdlib.h>

static bool on_progress(void *ctx, uint64_t done, uint64_t all)
{
    progress_update(ctx, done, all);
    return !signals_caught();
}

static int open_leg(const struct image_args *a, const char *arg, struct block **b)
{
    struct block_error err;
    struct block_options o = {.allow_leg = true};
    char *spec;
    if (block_parse(arg, &spec, &o, &err)) {
        return image_say(a, CLI_USAGE, "%s", err.text);
    }
    int rc = o.read_only ? -2 : block_open(spec, &o, b, &err);
    free(spec);
    if (rc == -2) {
        return image_say(a, CLI_USAGE,
                         "%s: both legs get a mark and must be writable: leave ,ro away", arg);
    }
    return rc ? image_say(a, CLI_USAGE, "%s", err.text) : 0;
}

int image_rebuild(const struct image_args *a)
{
    struct block *good = NULL, *stale = NULL;
    struct block_error err;
    struct progress progress;
    int status = open_leg(a, a->word[0], &good);
    if (status) {
        return status;
    }
    status = open_leg(a, a->word[1], &stale);
    if (!status) {
        signals_catch();
        progress_begin(&progress);
        int rc = mirror_rebuild(good, stale, on_progress, &progress, &err);
        progress_end(&progress);
        if (rc) {
            status = image_say(a, IMAGE_PROBLEM, "%s", err.text);
        }
        block_close(stale);
    }
    block_close(good);
    signals_release();
    return status;
}
