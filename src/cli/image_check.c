/* ring3 image check */
#include "cli/image.h"

#include "block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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

/** Raw images have nothing that could be wrong. 0: path is qcow2; else done, with that status + 1.
 */
static int look(const struct image_args *a, const char *path)
{
    uint8_t magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return image_say(a, IMAGE_PROBLEM, "%s: %s", path, strerror(errno)) + 1;
    }
    bool is_qcow2 = pread(fd, magic, sizeof(magic), 0) == 4 && qcow2_probe(magic, sizeof(magic));
    close(fd);
    if (!is_qcow2) {
        printf("%s is not a qcow2 image: there is nothing to check\n", path);
        return 1;
    }
    return 0;
}

int image_check(const struct image_args *a)
{
    struct block_error err;
    struct qcow2_check_result result;
    const struct qcow2_check_sink sink = {.line = on_line, .stop = on_stop};
    int done = look(a, a->word[0]);
    if (done) {
        return done - 1;
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
        return image_say(a, IMAGE_PROBLEM, "%s", err.text);
    }
    print_result(&result);
    return result.corruptions || result.leaks ? IMAGE_PROBLEM : 0;
}
