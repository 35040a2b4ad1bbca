/* Which devices a machine has without being asked, and what the default guest is told about those that were asked for (host/linux/channel.h).
 *
 * A command in the default guest runs in a machine with just what its options name: each device costs milliseconds at start. Any other machine has
 * entropy and a balloon; a virtio console has the default guest's shell, and whoever names one on the kernel's command line.
 */
#include "cli/cli.h"
#include "cli/run.h"
#include "host/linux/channel.h"
#include "share/share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void run_choose_devices(const struct run_plan *plan, struct devices_config *d)
{
    bool machine = plan->console == CONSOLE_PLAIN;
    d->rng = d->balloon = machine;
    d->console = machine && (plan->default_initrd || strstr(plan->cmdline, "console=hvc"));
}

/* Append one of the NUL-terminated strings. False: no memory. */
static bool append(char **text, size_t *len, const char *word)
{
    size_t more = strlen(word) + 1;
    char *longer = realloc(*text, *len + more);
    if (longer) {
        memcpy(longer + *len, word, more);
        *text = longer;
        *len += more;
    }
    return longer != NULL;
}

/* What `kind`, `kind=name` or `kind,option` begins with. */
static const char *net_kind(const char *arg)
{
    static const char *const kinds[] = {CHANNEL_NET_USER, CHANNEL_NET_TAP, CHANNEL_NET_SWITCH};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strncmp(arg, kinds[i], strlen(kinds[i])) == 0) {
            return kinds[i];
        }
    }
    return CHANNEL_NET_USER;
}

static int tell_nets(struct cpio *c, const struct run_options *o)
{
    char *text = NULL;
    size_t len = 0;
    bool ok = true;
    for (unsigned i = 0; i < o->net_count && ok; i++) {
        ok = append(&text, &len, net_kind(o->net[i]));
    }
    if (ok && len) {
        cpio_add(c, CHANNEL_NET, S_IFREG | 0444, 0, 0, text, len);
    }
    free(text);
    return ok ? 0 : -1;
}

static int tell_shares(struct cpio *c, const struct run_options *o)
{
    char *text = NULL;
    size_t len = 0;
    bool ok = true;
    for (unsigned i = 0; i < o->share_count && ok; i++) {
        struct share_config share;
        struct share_error err;
        if (share_parse(o->share[i], i, &share, &err)) {
            fprintf(stderr, "ring3 run: %s\n", err.text);
            free(text);
            return CLI_USAGE;
        }
        ok = append(&text, &len, share.tag) && append(&text, &len, share.target) && append(&text, &len, share.read_only ? "ro" : "rw");
    }
    if (ok && len) {
        cpio_add(c, CHANNEL_SHARES, S_IFREG | 0444, 0, 0, text, len);
    }
    free(text);
    return ok ? 0 : -1;
}

int run_tell_devices(struct cpio *c, const struct run_options *o)
{
    int failed = tell_nets(c, o);
    return failed ? failed : tell_shares(c, o);
}
