/* ring3 stats: what machines use, now.
 *
 * A sample is one answer to "stats" from each machine; rates are the differences of two. On a
 * terminal a new table is drawn every second until Ctrl-C; elsewhere, and with --once, one is
 * printed.
 */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/vms.h"
#include "control/client.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define LIVE_MS 1000
#define ONCE_MS 500 /* between the two samples of one table */
#define ANSWER_MS 2000 /* a monitor answers within 1000, with older counters if need be */
#define ROWS_DEFAULT 24u /* of a terminal that does not say */
#define COLUMNS_DEFAULT 80

enum { FORMAT, ONCE };
static const struct args_option options[] = {
    [FORMAT] = {"--format", NULL, "FORMAT"},
    [ONCE] = {"--once", NULL, NULL},
    {0},
};

struct sample {
    char name[VM_NAME_MAX + 1];
    char state[32];
    struct json_object *stats; /* NULL: it did not answer, or is not running */
};

struct samples {
    struct sample *one;
    size_t count;
};

/* ---- taking samples ---- */

static void drop_samples(struct samples *s)
{
    for (size_t i = 0; i < s->count; i++) {
        json_object_put(s->one[i].stats);
    }
    free(s->one);
    *s = (struct samples){0};
}

static void take_one(const struct vms *v, const struct vm_entry *e, struct samples *s, bool say)
{
    struct sample *one = &s->one[s->count++];
    struct vm_error err;
    snprintf(one->name, sizeof(one->name), "%s", e->name);
    vms_state(e, one->state);
    int failed =
        vm_alive(e) ? client_ask(&v->base, e->name, "stats", &one->stats, ANSWER_MS, &err) : 0;
    if (failed) {
        snprintf(one->state, sizeof(one->state), "no answer");
        if (say) {
            vms_say_failed(v, e, failed, &err);
        }
    }
}

/* Of the machines named, or of all that are alive. 0; else an exit status, said. */
static int take(const struct args *a, struct samples *s, bool say)
{
    struct vms v;
    int status = vms_open(&v, a->verb, VMS_BEGINNINGS);
    *s = (struct samples){.one = calloc(v.count + a->count + 1, sizeof(*s->one))};
    for (size_t i = 0; !status && !a->count && i < v.count; i++) {
        if (vm_alive(&v.list[i])) {
            take_one(&v, &v.list[i], s, say);
        }
    }
    for (size_t i = 0; !status && i < a->count; i++) {
        const struct vm_entry *e = vms_find_alive(&v, a->words[i], &status);
        if (e) {
            take_one(&v, e, s, say);
        }
    }
    vms_close(&v);
    return status;
}

/* ---- reading them ---- */

static uint64_t number(struct json_object *o, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(o, name, &value) ? json_object_get_uint64(value) : 0;
}

static uint64_t number_in(struct json_object *o, const char *group, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(o, group, &value) ? number(value, name) : 0;
}

/* The sum of a counter over all devices of a kind. */
static uint64_t device_sum(struct json_object *o, const char *kind, const char *counter)
{
    struct json_object *list, *value;
    uint64_t sum = 0;
    if (!json_object_object_get_ex(o, "devices", &list)) {
        return 0;
    }
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *dev = json_object_array_get_idx(list, i);
        if (json_object_object_get_ex(dev, "kind", &value) &&
            strcmp(json_object_get_string(value), kind) == 0) {
            sum += number(dev, counter);
        }
    }
    return sum;
}

/* The change of a number in a second. It may have begun anew: the machine rebooted. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
    return seconds > 0 && now >= before ? (double)(now - before) / seconds : 0;
}

/* ---- a table ---- */

static const struct sample *same_as(const struct samples *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->one[i].stats && strcmp(s->one[i].name, name) == 0) {
            return &s->one[i];
        }
    }
    return NULL;
}

static void print_rates(FILE *f, struct json_object *was, struct json_object *is)
{
    double s = (double)(number(is, "time_ns") - number(was, "time_ns")) / 1e9;
    double cpu = rate(number_in(was, "cpu_ns", "guest"), number_in(is, "cpu_ns", "guest"), s);
    double monitor =
        rate(number_in(was, "cpu_ns", "monitor"), number_in(is, "cpu_ns", "monitor"), s);
    static const struct {
        const char *kind, *counter;
    } shown[] = {
        {"disk", "in_bytes"}, {"disk", "out_bytes"}, {"net", "in_bytes"}, {"net", "out_bytes"}};
    char used[16], size[16];
    fprintf(f, "  %5.1f  %5.1f  %6s/%-6s", cpu / 1e7, monitor / 1e7,
            vms_bytes((double)number_in(is, "memory", "used"), used),
            vms_bytes((double)number_in(is, "memory", "size"), size));
    for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
        double bytes = rate(device_sum(was, shown[i].kind, shown[i].counter),
                            device_sum(is, shown[i].kind, shown[i].counter), s);
        fprintf(f, "  %8s", vms_bytes(bytes, used));
    }
    fprintf(f, "  %9.0f\n",
            rate(number_in(was, "exits", "callouts") + number_in(was, "exits", "system calls"),
                 number_in(is, "exits", "callouts") + number_in(is, "exits", "system calls"), s));
}

static void print_table(FILE *f, const struct samples *before, const struct samples *now)
{
    int width = 4;
    for (size_t i = 0; i < now->count; i++) {
        int len = (int)strlen(now->one[i].name);
        width = len > width ? len : width;
    }
    fprintf(f, "%-*s  %5s  %5s  %6s/%-6s  %8s  %8s  %8s  %8s  %9s\n", width, "NAME", "CPU%", "MON%",
            "MEM", "SIZE", "READ/s", "WRITE/s", "RECV/s", "SENT/s", "EXITS/s");
    for (size_t i = 0; i < now->count; i++) {
        const struct sample *is = &now->one[i], *was = same_as(before, is->name);
        fprintf(f, "%-*s", width, is->name);
        if (is->stats) {
            print_rates(f, was ? was->stats : is->stats, is->stats);
        } else {
            fprintf(f, "  %s\n", is->state);
        }
    }
}

/* The counters of one machine, of what there was: all, and in a second. */
static void print_counters(FILE *f, struct json_object *was, struct json_object *is)
{
    struct json_object *exits;
    double s = (double)(number(is, "time_ns") - number(was, "time_ns")) / 1e9;
    if (!json_object_object_get_ex(is, "exits", &exits)) {
        return;
    }
    fprintf(f, "\n%-34s  %14s  %12s\n", "EXITS BY KIND", "ALL", "PER SECOND");
    json_object_object_foreach(exits, name, value)
    {
        uint64_t all = json_object_get_uint64(value);
        if (!all) {
            continue;
        }
        fprintf(f, "%-34s  %14llu  %12.0f\n", name, (unsigned long long)all,
                rate(number_in(was, "exits", name), all, s));
    }
}

static void print(FILE *f, const struct args *a, const struct samples *before,
                  const struct samples *now)
{
    print_table(f, before, now);
    if (a->count == 1 && now->count == 1 && now->one[0].stats) {
        const struct sample *was = same_as(before, now->one[0].name);
        print_counters(f, was ? was->stats : now->one[0].stats, now->one[0].stats);
    }
}

/* ---- on a terminal ---- */

/* Show what fits into the window, from its top. */
static void show_cut(const char *text)
{
    struct winsize window = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row && window.ws_col;
    size_t rows = known ? window.ws_row : ROWS_DEFAULT, total = 0, row = 0;
    int columns = known ? window.ws_col : COLUMNS_DEFAULT;
    for (const char *c = text; *c; c++) {
        total += *c == '\n';
    }
    size_t shown = total < rows ? total : rows - 1; /* the cursor has the last row */
    size_t left = total - shown;
    fputs("\033[H\033[J", stdout); /* on a cleared screen */
    for (const char *line = text; row < shown; row++) {
        const char *end = strchr(line, '\n');
        int len = (int)(end - line);
        printf("%.*s\n", len < columns ? len : columns, line);
        line = end + 1;
    }
    if (left) {
        char more[80];
        snprintf(more, sizeof(more), "%zu more lines; 'ring3 stats --once' prints all", left);
        printf("%.*s", columns - 1, more);
    }
    fflush(stdout);
}

/* ---- as JSON ---- */

static void print_json(const struct samples *s)
{
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; i < s->count; i++) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "name", json_object_new_string(s->one[i].name));
        if (s->one[i].stats) {
            json_object_object_foreach(s->one[i].stats, key, value)
            {
                if (strcmp(key, "ok") != 0) {
                    json_object_object_add(o, key, json_object_get(value));
                }
            }
        }
        json_object_array_add(list, o);
    }
    vms_print_json(list);
}

/* ---- the verb ---- */

static void rest(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static int show_once(const struct args *a)
{
    struct samples before, now;
    int status = take(a, &before, false);
    if (!status) {
        rest(ONCE_MS);
        status = take(a, &now, true);
        if (!status) {
            print(stdout, a, &before, &now);
        }
        drop_samples(&now);
    }
    drop_samples(&before);
    return status;
}

/* Draw one table. 0 or CLI_BROKEN, said. */
static int draw(const struct args *a, const struct samples *before, const struct samples *now)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    bool failed = !f;
    if (f) {
        print(f, a, before, now);
        failed = fclose(f) != 0;
    }
    if (failed) {
        fprintf(stderr, "ring3 stats: out of memory\n");
    } else {
        show_cut(text);
    }
    free(text);
    return failed ? CLI_BROKEN : 0;
}

static int show_live(const struct args *a)
{
    struct samples before, now;
    int status = take(a, &before, false);
    while (!status && !ferror(stdout)) {
        rest(LIVE_MS);
        status = take(a, &now, false);
        status = status ? status : draw(a, &before, &now);
        drop_samples(&before);
        before = now;
    }
    drop_samples(&before);
    return status;
}

int stats_main(int argc, char **argv)
{
    struct args a;
    bool json = false;
    int status = args_parse(argc, argv, options, &a);
    if (status >= 0) {
        return status;
    }
    status = args_format(&a, FORMAT, &json);
    if (status) {
        return status;
    }
    if (json) {
        struct samples s;
        status = take(&a, &s, true);
        if (!status) {
            print_json(&s);
        }
        drop_samples(&s);
        return status;
    }
    return a.value[ONCE] || !isatty(STDOUT_FILENO) ? show_once(&a) : show_live(&a);
}
