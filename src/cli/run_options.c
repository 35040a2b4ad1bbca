/* The options of `ring3 run`. */
#include "cli/cli.h"
#include "cli/run.h"
#include "control/vm_dir.h"
#include "host/linux/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_DEFAULT (256ull << 20)

enum option_id {
    OPT_KERNEL,
    OPT_INITRD,
    OPT_APPEND,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_ENGINE,
    OPT_TRACE,
    OPT_DRY_RUN,
    OPT_VERBOSE,
    OPT_STAT,
    OPT_NO_REBOOT,
    OPT_DETACH,
    OPT_NAME,
    OPT_RM,
    OPT_WEIGHT,
    OPT_CAP,
    OPT_DISK,
    OPT_NET,
    OPT_PORT,
    OPT_SHARE,
    OPT_HELP,
    OPT_IGNORED,
};

struct option {
    const char *name; /* as written, with its dashes */
    enum option_id id;
    const char *value; /* what it takes, for messages; NULL: nothing */
};

static const struct option options[] = {
    {"--kernel", OPT_KERNEL, "FILE"},
    {"-kernel", OPT_KERNEL, "FILE"},
    {"-k", OPT_KERNEL, "FILE"},
    {"--initrd", OPT_INITRD, "FILE"},
    {"-initrd", OPT_INITRD, "FILE"},
    {"-i", OPT_INITRD, "FILE"},
    {"--append", OPT_APPEND, "TEXT"},
    {"-append", OPT_APPEND, "TEXT"},
    {"-a", OPT_APPEND, "TEXT"},
    {"--memory", OPT_MEMORY, "SIZE"},
    {"-m", OPT_MEMORY, "SIZE"},
    {"--cpus", OPT_CPUS, "N"},
    {"-smp", OPT_CPUS, "N"},
    {"-c", OPT_CPUS, "N"},
    {"--engine", OPT_ENGINE, "NAME"},
    {"--trace", OPT_TRACE, "FILE"},
    {"--dry-run", OPT_DRY_RUN, NULL},
    {"--verbose", OPT_VERBOSE, NULL},
    {"--stat", OPT_STAT, NULL},
    {"--no-reboot", OPT_NO_REBOOT, NULL},
    {"-no-reboot", OPT_NO_REBOOT, NULL},
    {"--detach", OPT_DETACH, NULL},
    {"--name", OPT_NAME, "NAME"},
    {"--rm", OPT_RM, NULL},
    {"--weight", OPT_WEIGHT, "WEIGHT"},
    {"--cap", OPT_CAP, "PERCENT"},
    {"--disk", OPT_DISK, "FILE"},
    {"-d", OPT_DISK, "FILE"},
    {"--net", OPT_NET, "NETWORK"},
    {"--port", OPT_PORT, "HOST:GUEST"},
    {"-p", OPT_PORT, "HOST:GUEST"},
    {"--volume", OPT_SHARE, "SRC:DST"},
    {"-v", OPT_SHARE, "SRC:DST"},
    {"--help", OPT_HELP, NULL},
    {"-h", OPT_HELP, NULL},
    {"-nographic", OPT_IGNORED, NULL}, /* it always is */
};

static int usage(const char *what, const char *why)
{
    fprintf(stderr, "ring3 run: %s: %s\n", what, why);
    return CLI_USAGE;
}

static int unknown_option(const char *word)
{
    const char *names[ARRAY_LEN(options)];
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        names[i] = options[i].name;
    }
    const char *meant = cli_suggest(word, names, ARRAY_LEN(options));
    if (meant) {
        fprintf(stderr, "ring3 run: no such option: %s; did you mean %s?\n", word, meant);
        return CLI_USAGE;
    }
    if (word[0] != '-') {
        fprintf(
            stderr,
            "ring3 run: what is %s? A command for the guest comes after --, a kernel after -k\n",
            word);
        return CLI_USAGE;
    }
    return usage(word, "no such option; 'ring3 help run' lists them");
}

/* Numbers begin so; strtoull takes blanks and signs, too. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_memory(const char *text, struct run_options *o)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = 20;
    switch (*end) {
    case 'k':
    case 'K':
        shift = 10;
        end++;
        break;
    case 'm':
    case 'M': end++; break;
    case 'g':
    case 'G':
        shift = 30;
        end++;
        break;
    case 't':
    case 'T':
        shift = 40;
        end++;
        break;
    default: break;
    }
    if (!is_digit(text[0]) || *end) {
        return usage("-m", "SIZE is a number of MB, or has a suffix K, M or G, as in 512M");
    }
    if (n > RAM_MAX >> shift) {
        return usage("-m", "more than the 256 GB a machine can have");
    }
    o->ram_size = align_down((uint64_t)n << shift, PAGE_SIZE);
    if (o->ram_size < MACHINE_RAM_MIN) {
        return usage("-m", "a machine needs 4M at least (a Debian kernel about 100M)");
    }
    return 0;
}

static int parse_cpus(const char *text, struct run_options *o)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (!is_digit(text[0]) || *end || n == 0) {
        return usage("-c", "N is a number of processors, at least 1");
    }
    if (n > 1) {
        return usage("-c", "machines have one processor so far; leave -c away, or say -c 1");
    }
    o->cpus = (unsigned)n;
    return 0;
}

/* A whole number from 1 to max. 0: it is none. */
static unsigned parse_count(const char *text, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    return !is_digit(text[0]) || *end || n > max ? 0 : (unsigned)n;
}

static int parse_weight(const char *text, struct run_options *o)
{
    o->weight = parse_count(text, RUN_WEIGHT_MAX);
    return o->weight ? 0
                     : usage("--weight", "WEIGHT is a number from 1 to 10000; machines that do not "
                                         "say have 100");
}

static int parse_cap(const char *text, struct run_options *o)
{
    o->cap = parse_count(text, RUN_CAP_MAX);
    return o->cap ? 0 : usage("--cap", "PERCENT is a number from 1 to 6400; 100 is one processor");
}

static int parse_name(const char *text, struct run_options *o)
{
    o->name = text;
    return vm_name_valid(text) ? 0
                               : usage("--name", "a name is up to 48 letters, digits, '-', '_' and "
                                                 "'.', the first a letter or a digit");
}

static int apply(enum option_id id, const char *value, struct run_options *o)
{
    switch (id) {
    case OPT_KERNEL: o->kernel = value; break;
    case OPT_INITRD: o->initrd = value; break;
    case OPT_APPEND: o->append = value; break;
    case OPT_MEMORY: return parse_memory(value, o);
    case OPT_CPUS: return parse_cpus(value, o);
    case OPT_ENGINE: o->engine = value; break;
    case OPT_TRACE: o->trace = value; break;
    case OPT_DRY_RUN: o->dry_run = true; break;
    case OPT_VERBOSE: o->verbose = true; break;
    case OPT_STAT: o->stat = true; break;
    case OPT_NO_REBOOT: o->no_reboot = true; break;
    case OPT_DETACH: o->detach = true; break;
    case OPT_NAME: return parse_name(value, o);
    case OPT_RM: o->remove = true; break;
    case OPT_WEIGHT: return parse_weight(value, o);
    case OPT_CAP: return parse_cap(value, o);
    case OPT_DISK: return run_add_disk(value, o);
    case OPT_NET: return run_add_net(value, o);
    case OPT_PORT: return run_add_port(value, o);
    case OPT_SHARE: return run_add_share(value, o);
    case OPT_HELP: o->help = true; break;
    case OPT_IGNORED: break;
    }
    return 0;
}

/* The option that word is, whole or as "--name=VALUE"; *value is then what follows the sign. */
static const struct option *find_option(const char *word, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *opt = &options[i];
        size_t len = strlen(opt->name);
        if (strcmp(word, opt->name) == 0) {
            return opt;
        }
        if (opt->value && len > 2 && strncmp(word, opt->name, len) == 0 && word[len] == '=') {
            *value = word + len + 1;
            return opt;
        }
    }
    return NULL;
}

int run_parse(int argc, char **argv, struct run_options *o)
{
    *o = (struct run_options){
        .engine = "auto", .ram_size = RAM_DEFAULT, .cpus = 1, .weight = RUN_WEIGHT_DEFAULT};
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--") == 0) {
            o->command = argv[i + 1] ? &argv[i + 1] : NULL;
            break;
        }
        const struct option *opt = find_option(argv[i], &value);
        if (!opt) {
            return unknown_option(argv[i]);
        }
        if (opt->value && !value) {
            if (i + 1 >= argc) {
                fprintf(stderr, "ring3 run: %s needs a %s after it\n", opt->name, opt->value);
                return CLI_USAGE;
            }
            value = argv[++i];
        }
        int failed = apply(opt->id, value ? value : "", o);
        if (failed) {
            return failed;
        }
    }
    if (o->remove && !o->detach) {
        return usage("--rm", "goes with --detach; a machine on a terminal leaves nothing anyway");
    }
    if (o->command && o->initrd) {
        return usage(
            "-i",
            "a command after -- runs in the default guest's initrd; leave one of the two away");
    }
    return 0;
}
