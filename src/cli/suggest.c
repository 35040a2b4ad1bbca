/* "Did you mean": the closest of some names. */
#include "cli/cli.h"

#include <string.h>

#define WORD_MAX 32
#define TOO_FAR 3 /* edits */
#define LONG 6    /* shorter words with two edits are other words */

/* How many edits make one word of the other: a byte more, less, or another, or two neighbours that
 * change places. Words have at most WORD_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t edits[WORD_MAX + 1][WORD_MAX + 1]; /* of the first i bytes and the first j */
    size_t alen = strlen(a), blen = strlen(b);
    for (size_t i = 0; i <= alen; i++) {
        for (size_t j = 0; j <= blen; j++) {
            if (!i || !j) {
                edits[i][j] = i + j;
                continue;
            }
            size_t skip_a = edits[i - 1][j] + 1, skip_b = edits[i][j - 1] + 1;
            size_t best = edits[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = skip_a < best ? skip_a : best;
            best = skip_b < best ? skip_b : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                size_t swap = edits[i - 2][j - 2] + 1;
                best = swap < best ? swap : best;
            }
            edits[i][j] = best;
        }
    }
    return edits[alen][blen];
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
        if (d < best_distance && d < len && (d < 2 || name_len >= LONG)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
