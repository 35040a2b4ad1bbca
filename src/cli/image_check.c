/* ring3 image check */
#include "cli/image.h"

#include "block/qcow2.h"
#include "block/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_line(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
}

static bool on_stop(void *ctx)
{
    (void)ctx;
    return signals_caught();
}

static void print_result(const struct qcow2_check_result *r)
{
    if (r->dirty) {
        puts("it was not closed cleanly");
    }
    printf("%llu of %llu clusters hold data, %llu of them compressed; %llu are known zero\n",
           (unsigned long long)r->data, (unsigned long long)r->total,
           (unsigned long long)r->compressed, (unsigned long long)r->zero);
    if (r->corruptions == 0 && r->leaks == 0) {
        puts("no problem found");
    }
    if (r->corruptions) {
        printf("%llu corruptions, %llu repaired\n", (unsigned long long)r->corruptions,
               (unsigned long long)r->corruptions_fixed);
    }
    if (r->leaks) {
        printf("%llu leaked clusters (space lost, data is safe), %llu recovered\n",
               (unsigned long long)r->leaks, (unsigned long long)r->leaks_fixed);
    }
}

/** What the path is, and that it can be checked. Raw images have nothing that could be wrong; the
 * name decides what an image is, as for -d. True: it is to be
 * checked; false: *status says all. */
static bool look(const struct image_args *a, const char *path, int *status)
{
    uint8_t magic[4];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st)) {
        *status = image_say(a, CLI_USAGE, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        *status = image_say(a, CLI_USAGE, "%s is %s: an image is a file or a block device", path,
                            S_ISDIR(st.st_mode) ? "a folder" : "neither file nor block device");
    } else if (pread(fd, magic, sizeof(magic), 0) == 4 && qcow2_probe(magic, sizeof(magic))) {
        close(fd);
        return true;
    } else if (spec_ends(path, ".qcow2")) {
        *status = image_say(a, IMAGE_PROBLEM, IMAGE_NO_MAGIC, path);
    } else {
        printf("%s is not a qcow2 image: there is nothing to check\n", path);
        *status = 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    return false;
}

int image_check(const struct image_args *a)
{
    struct block_error err;
    struct qcow2_check_result result;
    const struct qcow2_check_sink sink = {.line = on_line, .stop = on_stop};
    int status;
    if (!look(a, a->word[0], &status)) {
        return status;
    }
    signals_catch();
    int rc = qcow2_check(a->word[0], a->repair, &sink, &result, &err);
    if (!rc && a->repair && result.corruptions_fixed + result.leaks_fixed > 0) {
        print_result(&result);
        puts("checking again");
        rc = qcow2_check(a->word[0], false, &sink, &result, &err);
    }
    signals_release();
    if (rc) {
        return image_say(a, err.busy ? CLI_USAGE : IMAGE_PROBLEM, "%s", err.text);
    }
    print_result(&result);
    return result.corruptions || result.leaks ? IMAGE_PROBLEM : 0;
}
