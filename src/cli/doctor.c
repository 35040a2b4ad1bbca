/* `ring3 doctor`: measures this machine and says what ring3 makes of it; doctor.h lists the parts.
 *
 * Gathers everything into one struct doctor_report, then prints it for people or as JSON. The text
 * is aligned for 100 columns; colour only on a terminal, and not where NO_COLOR is set.
 */
#include "cli/doctor.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "engine/engine.h"

#define EXIT_USAGE 2
#define WIDTH 98

/* Escape sequences, or empty strings. */
struct style {
    const char *bold, *good, *odd, *bad, *dim, *off;
};

static struct style style_for(FILE *f)
{
    const char *no_color = getenv("NO_COLOR");

    if (!isatty(fileno(f)) || (no_color && *no_color))
        return (struct style){"", "", "", "", "", ""};
    return (struct style){"\033[1m", "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[0m"};
}

/* ---- gathering ---- */

/* Whether the host kernel took the instruction and gave the answer itself. */
static bool is_answered(const struct probe_result *res)
{
    return !probe_reaches_monitor(res) &&
           (res->outcome == PROBE_EMULATED || res->outcome == PROBE_HOST_ENTRY);
}

const struct probe_result *doctor_result(const struct doctor_report *r, const char *name)
{
    size_t i = 0;

    while (i + 1 < r->probe_count && strcmp(r->probes[i].name, name) != 0)
        i++;
    return &r->results[i];
}

struct probe_summary doctor_summary(const struct doctor_report *r)
{
    struct probe_summary s = {.measured = r->probe_count};

    for (size_t i = 0; i < r->probe_count; i++) {
        const struct probe_result *res = &r->results[i];

        s.absent += res->outcome == PROBE_ABSENT;
        if (!probe_counts(&r->probes[i], res))
            continue;
        s.sensitive++;
        if (probe_reaches_monitor(res))
            s.trap++;
        else if (is_answered(res))
            s.emulated++;
        else
            s.silent++;
    }
    return s;
}

/* What the engine says of itself, and whether a machine runs on it. */
static void try_engine(const struct doctor_report *r, const struct engine *engine,
                       struct engine_report *e)
{
    const struct probe_result *iretq = doctor_result(r, "iretq");

    *e = (struct engine_report){.name = engine->name};
    e->usable = engine->probe(e->why, sizeof(e->why));
    if (e->usable)
        doctor_try_machine(engine, e);
    if (e->machine == MACHINE_FAILED && iretq->outcome == PROBE_DIED && iretq->signo == SIGKILL)
        snprintf(e->remedy, sizeof(e->remedy),
                 "`iretq` ends a process here, see above; if this host runs in QEMU's TCG, start it "
                 "without SMAP: -cpu max,-smap");
}

/* The engines in the order `auto` tries them, and its choice. Hardware comes first, where there is
 * an engine for it. */
static void choose_engine(struct doctor_report *r)
{
    r->engines[0] = (struct engine_report){.name = "kvm", .why = "not built in"};
    try_engine(r, &engine_bt, &r->engines[1]);
    r->engine_count = 2;
    r->chosen = -1;
    for (size_t i = 0; i < r->engine_count && r->chosen < 0; i++) {
        if (r->engines[i].usable)
            r->chosen = (int)i;
    }
    if (r->chosen < 0)
        snprintf(r->chosen_why, sizeof(r->chosen_why), "no engine can run on this host");
    else
        snprintf(r->chosen_why, sizeof(r->chosen_why), "%s", r->engines[r->chosen].why);
}

static int gather(struct doctor_report *r)
{
    r->probes = probe_table(&r->probe_count);
    r->results = calloc(r->probe_count, sizeof(*r->results));
    if (!r->results)
        return -1;
    for (size_t i = 0; i < r->probe_count; i++) {
        if (probe_measure(&r->probes[i], &r->results[i]) < 0)
            r->results[i].outcome = PROBE_DIED;
    }
    doctor_host_checks(r);
    choose_engine(r);
    return 0;
}

/* ---- the report for people ---- */

/* The words of `text`, in lines of at most WIDTH columns. The cursor stands at `column`; later
 * lines start at `indent`. */
static void print_wrapped(const char *text, int column, int indent)
{
    const char *gap = "";

    while (*text) {
        int len = (int)strcspn(text, " ");

        if (*gap && column + 1 + len > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
            gap = "";
        }
        column += printf("%s%.*s", gap, len, text);
        gap = " ";
        text += len;
        text += strspn(text, " ");
    }
    putchar('\n');
}

/* The same from the left margin. */
static void print_paragraph(const char *text, int indent)
{
    print_wrapped(text, printf("%*s", indent, ""), indent);
}

static const char *outcome_color(const struct style *st, enum probe_outcome o)
{
    switch (o) {
    case PROBE_TRAPS:
    case PROBE_HOST_ENTRY:
    case PROBE_NATIVE: return st->good;
    case PROBE_EMULATED:
    case PROBE_HYPERVISOR: return st->odd;
    case PROBE_ABSENT:
    case PROBE_UNTRIED: return st->dim;
    default: return st->bad;
    }
}

static void print_probe(const struct probe *in, const struct probe_result *r,
                        const struct style *st, bool verbose)
{
    char text[96], value[96];

    probe_describe(r, text, sizeof(text));
    printf("  %-15s %s%-30s%s %s\n", in->name, outcome_color(st, r->outcome), text, st->off,
           in->ring3);
    if (!verbose)
        return;
    probe_value(in, r, value, sizeof(value));
    if (r->signo == 0 && r->outcome != PROBE_UNTRIED)
        printf("  %-15s   %s%s%s%llu ns%s\n", "", st->dim, value, value[0] ? ", " : "",
               (unsigned long long)r->ns, st->off);
}

static void print_probes(const struct doctor_report *r, const struct style *st, bool verbose)
{
    printf("%sSensitive instructions, executed in user mode on this processor%s\n", st->bold,
           st->off);
    printf("  %-15s %-30s %s\n", "instruction", "what happened",
           "what ring3 does (guest kernel; guest user)");
    for (size_t i = 0; i < r->probe_count; i++) {
        if (r->probes[i].group)
            printf("\n %s%s%s\n", st->bold, r->probes[i].group, st->off);
        print_probe(&r->probes[i], &r->results[i], st, verbose);
    }
    putchar('\n');
    print_paragraph(
        "Kernel code is rewritten: \"callout\" calls the monitor, \"inline\" works on the virtual "
        "CPU in place, \"native\" stays as it is. User code runs unchanged: (limit) marks a "
        "documented deviation, see docs/limits.md.",
        2);
}

/* The names of the sensitive instructions that no process learns of: those the host kernel answers,
 * or the others. */
static void print_untrapped(const struct doctor_report *r, bool answered)
{
    const int indent = 7;
    int column = 0;

    for (size_t i = 0; i < r->probe_count; i++) {
        const struct probe_result *res = &r->results[i];
        const char *name = r->probes[i].name;

        if (!probe_counts(&r->probes[i], res) || probe_reaches_monitor(res) ||
            is_answered(res) != answered)
            continue;
        if (column && column + 3 + (int)strlen(name) > WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += column ? printf(" | %s", name) : printf("%*s%s", indent, "", name);
    }
    putchar('\n');
}

static void print_summary(const struct doctor_report *r, const struct style *st)
{
    struct probe_summary s = doctor_summary(r);

    printf("\n%sPopek & Goldberg's condition, measured%s\n", st->bold, st->off);
    printf("  %zu forms tried, %zu absent here; %zu are sensitive and present:\n", s.measured,
           s.absent, s.sensitive);
    printf("  %4zu trap, so that a monitor in user mode is told\n", s.trap);
    if (s.emulated) {
        printf(
            "  %4zu trap into the host kernel, which answers by itself; the monitor is not told:\n",
            s.emulated);
        print_untrapped(r, true);
    }
    if (s.silent) {
        printf("  %4zu do not trap:\n", s.silent);
        print_untrapped(r, false);
    }
    if (s.trap == s.sensitive)
        print_paragraph("=> every sensitive instruction traps: trap-and-emulate alone would do.",
                        2);
    else
        print_paragraph("=> not virtualizable by trap-and-emulate alone: the guest's kernel code "
                        "must be rewritten (or run on hardware virtualization).",
                        2);
}

static void print_host(const struct doctor_report *r, const struct style *st)
{
    static const char *const marks[CHECK_STATUSES] = {"ok", "-", "warn", "MISSING"};
    const int column = 30;
    const char *const colors[CHECK_STATUSES] = {st->good, st->dim, st->odd, st->bad};

    printf("\n%sWhat ring3 uses of this host%s\n", st->bold, st->off);
    for (size_t i = 0; i < r->check_count; i++) {
        const struct check *c = &r->checks[i];

        printf("  %-19s %s%-7s%s ", c->id, colors[c->status], marks[c->status], st->off);
        print_wrapped(c->value, column, column);
        if (c->remedy[0]) {
            printf("%*sremedy: ", column, "");
            print_wrapped(c->remedy, column + 8, column + 8);
        }
    }
}

static void print_engine(const struct engine_report *e, const struct style *st)
{
    const int column = 17;

    printf("  %-5s %s%-8s%s ", e->name, e->usable ? st->good : st->dim,
           e->usable ? "usable" : "unusable", st->off);
    print_wrapped(e->why, column, column);
    if (e->remedy[0]) {
        printf("%*sremedy: ", column, "");
        print_wrapped(e->remedy, column + 8, column + 8);
    }
    if (e->machine == MACHINE_RAN) {
        printf("%*sa machine was run, kernel code and user code, in %u ms\n", column, "",
               e->machine_ms);
    } else if (e->untried[0]) {
        printf("%*sno machine could be tried: ", column, "");
        print_wrapped(e->untried, column + 27, column);
    }
}

static void print_engines(const struct doctor_report *r, const struct style *st)
{
    printf("\n%sEngines%s\n", st->bold, st->off);
    for (size_t i = 0; i < r->engine_count; i++)
        print_engine(&r->engines[i], st);
    if (r->chosen < 0) {
        printf("  `auto`: %s%s%s\n", st->bad, r->chosen_why, st->off);
        return;
    }
    printf("  `auto` takes %s%s%s: ", st->bold, r->engines[r->chosen].name, st->off);
    print_wrapped(r->chosen_why, 20, 4);
}

/* ---- the verb ---- */

static const char usage[] =
    "Usage: ring3 doctor [--format text|json] [--verbose]\n"
    "\n"
    "Executes every sensitive instruction of x86-64 in user mode on this processor, in\n"
    "child processes, and prints what happened; then the host features ring3 uses, with a\n"
    "remedy for each one missing; then runs a small machine, and says which engines are\n"
    "usable, or why not, and which one `auto` would take.\n"
    "\n"
    "  --format F   text (default) or json\n"
    "  --verbose    also the values read and the time of each instruction\n"
    "  -h, --help   this text\n"
    "\n"
    "Exit status: 0 some engine can run here, 1 none can, 2 usage\n";

struct options {
    bool json, verbose, help;
};

/* 0, or -1 after a line on stderr. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"format", required_argument, NULL, 'f'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    optind = 0; /* start over: the caller may have parsed its own options */
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":hv", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            if (strcmp(optarg, "json") != 0 && strcmp(optarg, "text") != 0) {
                fprintf(stderr, "ring3 doctor: unknown format '%s': use text or json\n", optarg);
                return -1;
            }
            o->json = strcmp(optarg, "json") == 0;
            break;
        case 'v': o->verbose = true; break;
        case 'h': o->help = true; break;
        default:
            fprintf(stderr, "ring3 doctor: %s '%s': see ring3 doctor --help\n",
                    c == ':' ? "missing value for" : "unknown option", argv[optind - 1]);
            return -1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "ring3 doctor: unexpected argument '%s': see ring3 doctor --help\n",
                argv[optind]);
        return -1;
    }
    return 0;
}

int doctor_main(int argc, char **argv)
{
    struct doctor_report report = {.chosen = -1};
    struct options o = {0};
    struct style st = style_for(stdout);

    if (parse(argc, argv, &o) < 0)
        return EXIT_USAGE;
    if (o.help) {
        fputs(usage, stdout);
        return 0;
    }
    fflush(NULL);             /* children must not repeat what is buffered */
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would take the children's status away */
    if (gather(&report) < 0) {
        fprintf(stderr, "ring3 doctor: out of memory\n");
        return 1;
    }
    if (o.json) {
        doctor_print_json(&report, stdout);
    } else {
        print_probes(&report, &st, o.verbose);
        print_summary(&report, &st);
        print_host(&report, &st);
        print_engines(&report, &st);
    }
    free(report.results);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "ring3 doctor: cannot write the report\n");
        return 1;
    }
    return report.chosen >= 0 ? 0 : 1;
}
