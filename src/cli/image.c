/* ring3 image: its options, and which of its verbs. See image.h. */
#include "cli/image.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "block/spec.h"

const char image_help[] =
    "Usage: ring3 image create  [-f FORMAT] [--cluster SIZE] [-b FILE [-F FORMAT]] [-y] FILE "
    "[SIZE]\n"
    "       ring3 image info    [--format json] DISK\n"
    "       ring3 image check   [--repair] FILE\n"
    "       ring3 image convert [-f FORMAT] [-O FORMAT] [-c] [--cluster SIZE] [-y] DISK FILE\n"
    "       ring3 image rebuild DISK DISK\n"
    "\n"
    "Make, describe, check and copy disk images. DISK is what -d of ring3 run takes: a raw or "
    "qcow2\n"
    "file, a block device, nbd://HOST/NAME, or concat:, stripe:, mirror: of several, with options\n"
    "like ,backing behind it. The format of a FILE is raw unless its name ends in .qcow2, or is "
    "given.\n"
    "\n"
    "create makes an empty image of SIZE (as in 10G). With -b it is one over the backing file "
    "FILE,\n"
    "which is read where the image holds nothing of its own, and is never changed.\n"
    "info says what an image is. check holds the references in a qcow2 image against its counts;\n"
    "--repair sets right what differs. convert copies a disk into a new image, without its zeros.\n"
    "rebuild copies the good leg of a mirror (first) over the one that was lost or replaced "
    "(second).\n"
    "\n"
    "  -f FORMAT            create: the image's format; convert: the format of DISK; raw or qcow2\n"
    "  -O FORMAT            convert: the format of FILE\n"
    "  -b, --backing FILE   create: a qcow2 image over this file\n"
    "  -F FORMAT            create: the format of the backing file\n"
    "      --cluster SIZE   qcow2's unit of allocation, 512 to 2M (default 64K)\n"
    "  -c, --compress       convert: compress qcow2 clusters\n"
    "  -y, --force          overwrite a file that is there\n"
    "      --repair         check: set right what differs\n"
    "      --format json    info: for programs\n"
    "  -h, --help           this text\n"
    "\n"
    "Exit status: 0 all well; 1 the check found a problem, or what was begun failed; 2 bad "
    "options\n"
    "or files, nothing was done.\n"
    "A file that could not be finished, or was interrupted with Ctrl-C, is removed.\n";

struct verb {
    const char *name;
    unsigned min_words, max_words;
    const char *options; /* letters it takes: f O b F s(ize of clusters) c y r j */
    int (*main)(const struct image_args *a);
};

static const struct verb verbs[] = {
    {"create", 1, 2, "fbFsy", image_create}, {"info", 1, 1, "j", image_info},
    {"check", 1, 1, "r", image_check},       {"convert", 2, 2, "fOcsy", image_convert},
    {"rebuild", 2, 2, "", image_rebuild},
};

struct option {
    const char *name;
    char letter;
    bool takes_value;
};

static const struct option options[] = {
    {"-f", 'f', true},        {"-O", 'O', true},          {"-b", 'b', true},
    {"--backing", 'b', true}, {"-F", 'F', true},          {"--cluster", 's', true},
    {"-c", 'c', false},       {"--compress", 'c', false}, {"-y", 'y', false},
    {"--force", 'y', false},  {"--repair", 'r', false},   {"--format", 'j', true},
};

int image_say(const struct image_args *a, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "ring3 image %s: ", a->verb);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return status;
}

const char *image_format(const struct image_args *a, const char *given, const char *path)
{
    if (!given) {
        return spec_ends(path, ".qcow2") ? "qcow2" : "raw";
    }
    if (strcmp(given, "raw") != 0 && strcmp(given, "qcow2") != 0) {
        image_say(a, 0, "%s: no such format; there are raw and qcow2", given);
        return NULL;
    }
    return given;
}

unsigned image_cluster_bits(const struct image_args *a)
{
    return a->cluster ? (unsigned)__builtin_ctzll(a->cluster) : QCOW2_CLUSTER_BITS_DEFAULT;
}

const char *image_bytes(uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB", "PB", "EB"};
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % ARRAY_LEN(texts)];
    unsigned unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit + 1 < ARRAY_LEN(units); unit++) {
        value /= 1024;
    }
    snprintf(text, sizeof(texts[0]), unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static int parse_cluster(struct image_args *a, const char *value)
{
    a->cluster = spec_number(value, 1024);
    bool power = a->cluster && (a->cluster & (a->cluster - 1)) == 0;
    if (!power || a->cluster < 1u << QCOW2_CLUSTER_BITS_MIN ||
        a->cluster > 1u << QCOW2_CLUSTER_BITS_MAX) {
        return image_say(a, CLI_USAGE, "--cluster %s: SIZE is a power of two from 512 to 2M",
                         value);
    }
    return 0;
}

static int apply(struct image_args *a, char letter, const char *value)
{
    switch (letter) {
    case 'f': a->format = value; return 0;
    case 'O': a->out_format = value; return 0;
    case 'b': a->backing = value; return 0;
    case 'F': a->backing_format = value; return 0;
    case 's': return parse_cluster(a, value);
    case 'c': a->compress = true; return 0;
    case 'y': a->force = true; return 0;
    case 'r': a->repair = true; return 0;
    default: break;
    }
    a->json = value && strcmp(value, "json") == 0;
    return a->json || (value && strcmp(value, "text") == 0)
               ? 0
               : image_say(a, CLI_USAGE, "--format %s: it is json or text", value);
}

/** The option that `word` is, alone or as NAME=VALUE (*value, else NULL). */
static const struct option *find_option(const struct verb *verb, const char *word,
                                        const char **value)
{
    const char *equals = word[0] == '-' && word[1] == '-' ? strchr(word, '=') : NULL;
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    *value = equals ? equals + 1 : NULL;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        if (strlen(o->name) == len && memcmp(o->name, word, len) == 0 &&
            strchr(verb->options, o->letter)) {
            return !*value || o->takes_value ? o : NULL;
        }
    }
    return NULL;
}

static int unknown_option(const struct image_args *a, const struct verb *verb, const char *word)
{
    const char *names[ARRAY_LEN(options)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strchr(verb->options, options[i].letter)) {
            names[count++] = options[i].name;
        }
    }
    const char *meant = cli_suggest(word, names, count);
    return meant
               ? image_say(a, CLI_USAGE, "no such option: %s; did you mean %s?", word, meant)
               : image_say(a, CLI_USAGE, "no such option: %s; 'ring3 help image' lists them", word);
}

static int parse(struct image_args *a, const struct verb *verb, int argc, char **argv)
{
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *value;
        if (only_words || word[0] != '-' || !word[1]) {
            if (a->words == verb->max_words) {
                return image_say(a, CLI_USAGE, "one name too many: %s", word);
            }
            a->word[a->words++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        const struct option *o = find_option(verb, word, &value);
        if (!o) {
            return unknown_option(a, verb, word);
        }
        if (o->takes_value && !value) {
            value = argv[++i];
            if (i >= argc || !value) {
                return image_say(a, CLI_USAGE, "%s needs a value", word);
            }
        }
        int status = apply(a, o->letter, value);
        if (status) {
            return status;
        }
    }
    if (a->words < verb->min_words) {
        return image_say(a, CLI_USAGE, "%s; 'ring3 help image' says more",
                         verb->min_words == 2 ? "two names are needed: from and to"
                                              : "the name of an image is needed");
    }
    return 0;
}

int image_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(image_help, stdout);
            return 0;
        }
    }
    const char *names[ARRAY_LEN(verbs)];
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        names[i] = verbs[i].name;
        if (strcmp(name, verbs[i].name) == 0) {
            struct image_args a = {.verb = name};
            int status = parse(&a, &verbs[i], argc - 2, argv + 2);
            return status ? status : verbs[i].main(&a);
        }
    }
    const char *meant = cli_suggest(name, names, ARRAY_LEN(verbs));
    fprintf(stderr, "ring3 image: %s%s; ", name[0] ? "no such command: " : "a command is needed",
            name);
    if (meant) {
        fprintf(stderr, "did you mean %s?\n", meant);
    } else {
        fputs("there are create, info, check, convert, rebuild\n", stderr);
    }
    return CLI_USAGE;
}
