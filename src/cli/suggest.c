/* "Did you mean": the closest of some names. */
#include "cli/cli.h"

#include <string.h>

#define WORD_MAX 32
#define TOO_FAR 3 /* edits */

/* Levenshtein distance of two words of at most WORD_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t alen = strlen(a), blen = strlen(b);
    for (size_t j = 0; j <= blen; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= alen; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            size_t skip = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < skip ? replace : skip;
        }
    }
    return row[blen];
}

const char *cli_suggest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = TOO_FAR;
    size_t len = strlen(word);
    if (len > WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len > WORD_MAX || name_len < 3) {
            continue; /* everything is close to -k */
        }
        size_t d = distance(word, names[i]);
        if (d < best_distance && d < len) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
