/* -v SRC:DST[:ro]. */
#include "share/share.h"

#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Copy the part of *at up to a single colon (or the end) to out, colons halved; *at is then behind the colon, or NULL at the end. -1: too long. */
static int take_part(const char **at, char *out, size_t size)
{
    const char *from = *at;
    size_t len = 0;
    while (*from) {
        if (*from == ':') {
            if (from[1] != ':') {
                break;
            }
            from++;
        }
        if (len + 1 >= size) {
            return -1;
        }
        out[len++] = *from++;
    }
    out[len] = '\0';
    *at = *from ? from + 1 : NULL;
    return 0;
}

/* The directory's whole name: virtiofsd is started elsewhere. */
static int find_source(struct share_config *c, const char *arg, struct share_error *err)
{
    char whole[PATH_MAX];
    struct stat st;
    if (!realpath(c->source, whole) || stat(whole, &st)) {
        fmt_line(err->text, sizeof(err->text), "-v %s: %s: %s", arg, c->source, strerror(errno));
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        fmt_line(err->text, sizeof(err->text), "-v %s: %s is not a directory; share the directory it is in", arg, c->source);
        return -1;
    }
    fmt_line(c->source, sizeof(c->source), "%s", whole);
    return 0;
}

int share_parse(const char *arg, unsigned index, struct share_config *c, struct share_error *err)
{
    const char *at = arg;
    char mode[8] = "";
    *c = (struct share_config){0};
    if (take_part(&at, c->source, sizeof(c->source)) || (at && take_part(&at, c->target, sizeof(c->target)))) {
        fmt_line(err->text, sizeof(err->text), "-v: a name longer than any path");
        return -1;
    }
    if (at && (take_part(&at, mode, sizeof(mode)) || at || (strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0))) {
        fmt_line(err->text, sizeof(err->text), "-v %s: after SRC:DST only :ro or :rw can come (a colon in a name is written as two)", arg);
        return -1;
    }
    if (!c->source[0] || c->target[0] != '/') {
        fmt_line(err->text, sizeof(err->text), "-v %s: it is SRC:DST[:ro], a directory here and an absolute path in the guest", arg);
        return -1;
    }
    c->read_only = strcmp(mode, "ro") == 0;
    fmt_line(c->tag, sizeof(c->tag), "ring3-%u", index);
    return find_source(c, arg, err);
}
