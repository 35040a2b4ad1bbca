/* Parsing the command lines of small verbs: see args.h. No state. */
#include "cli/args.h"

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(const struct args_option *o, const char *word, size_t len)
{
    const char *names[] = {o->name, o->alias};
    for (size_t i = 0; i < 2; i++) {
        if (names[i] && strlen(names[i]) == len && strncmp(names[i], word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The option that word is, whole or as "--name=VALUE"; *value is then what follows the sign. */
static const struct args_option *find(const struct args_option *options, const char *word,
                                      const char **value)
{
    const char *sign = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    *value = NULL;
    for (const struct args_option *o = options; o->name; o++) {
        if (is(o, word, strlen(word))) {
            return o;
        }
        if (o->value && sign && is(o, word, (size_t)(sign - word))) {
            *value = sign + 1;
            return o;
        }
    }
    return NULL;
}

static int unknown(const char *verb, const struct args_option *options, const char *word)
{
    const char *names[ARGS_OPTIONS_MAX];
    size_t count = 0;
    for (const struct args_option *o = options; o->name && count < ARGS_OPTIONS_MAX; o++) {
        names[count++] = o->name;
    }
    const char *meant = cli_suggest(word, names, count);
    if (meant) {
        fprintf(stderr, "ring3 %s: no such option: %s; did you mean %s?\n", verb, word, meant);
    } else {
        fprintf(stderr, "ring3 %s: no such option: %s; 'ring3 help %s' lists them\n", verb, word,
                verb);
    }
    return CLI_USAGE;
}

int args_parse(int argc, char **argv, const struct args_option *options, struct args *a)
{
    bool ended = false;
    *a = (struct args){.verb = argv[0], .words = argv + 1};
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        const char *value;
        if (ended || word[0] != '-' || !word[1]) {
            a->words[a->count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            ended = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return cli_print_help(cli_find_verb(a->verb));
        }
        const struct args_option *o = find(options, word, &value);
        if (!o) {
            return unknown(a->verb, options, word);
        }
        if (o->value && !value) {
            if (i + 1 >= argc) {
                fprintf(stderr, "ring3 %s: %s needs a %s after it\n", a->verb, word, o->value);
                return CLI_USAGE;
            }
            value = argv[++i];
        }
        a->value[o - options] = value ? value : "";
    }
    return -1;
}

int args_words(const struct args *a, size_t min, size_t max, const char *what)
{
    if (a->count < min) {
        fprintf(stderr, "ring3 %s: needs %s; 'ring3 ps' lists them\n", a->verb, what);
        return CLI_USAGE;
    }
    if (a->count > max) {
        fprintf(stderr, "ring3 %s: what is %s? It takes %s%s\n", a->verb, a->words[max],
                max ? what : "no names", max ? ", no more" : "");
        return CLI_USAGE;
    }
    return 0;
}

int args_number(const struct args *a, const struct args_option *options, size_t i, unsigned min,
                unsigned max, unsigned *number)
{
    const char *text = a->value[i];
    if (!text) {
        return 0;
    }
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || n < min || n > max) {
        fprintf(stderr, "ring3 %s: %s: %s is a whole number from %u to %u\n", a->verb,
                options[i].name, options[i].value, min, max);
        return CLI_USAGE;
    }
    *number = (unsigned)n;
    return 0;
}

int args_format(const struct args *a, size_t i, bool *json)
{
    const char *format = a->value[i] ? a->value[i] : "table";
    *json = strcmp(format, "json") == 0;
    if (!*json && strcmp(format, "table") != 0) {
        fprintf(stderr, "ring3 %s: --format is table or json\n", a->verb);
        return CLI_USAGE;
    }
    return 0;
}
