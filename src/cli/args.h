/* Command lines of the small verbs: some options, and words. `ring3 run` has its own
 * (run_options.c).
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "base/types.h"

#define ARGS_OPTIONS_MAX 8u

struct args_option {
    const char *name;  /* with its dashes; NULL ends the list */
    const char *alias; /* another name, or NULL */
    const char *value; /* what it takes, for messages; NULL: nothing */
};

struct args {
    const char *verb;
    /* For each option of the list what it was given: "" for one that takes nothing; NULL: it was
     * not. */
    const char *value[ARGS_OPTIONS_MAX];
    char **words; /* argv's own, moved together */
    size_t count;
};

/** Parse argv (argv[0] is the verb) and see to --help. Returns -1 to go on; else the exit status,
 * and what there is to say has been said. */
int args_parse(int argc, char **argv, const struct args_option *options, struct args *a) MUST_CHECK;
/** There must be at least min and at most max words. 0; else CLI_USAGE, said. what: "the name of a
 * machine" */
int args_words(const struct args *a, size_t min, size_t max, const char *what) MUST_CHECK;
/** The value of option i as a whole number from min to max. 0; else CLI_USAGE, said. */
int args_number(const struct args *a, const struct args_option *options, size_t i, unsigned min,
                unsigned max, unsigned *number) MUST_CHECK;
/** The value of option i, "json" or "table" (if it was not given). 0; else CLI_USAGE, said. */
int args_format(const struct args *a, size_t i, bool *json) MUST_CHECK;

#endif
