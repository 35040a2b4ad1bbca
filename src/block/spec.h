/* The grammar of what people write for a disk, for parse.c and open.c.
 *
 *   ARGUMENT = DISK { ,OPTION }
 *   DISK     = LEAF | concat:LEG,LEG... | stripe:SIZE:LEG,LEG... | mirror:LEG,LEG...
 *   LEG      = LEAF | [DISK]
 *   LEAF     = path or NBD address, its commas doubled
 */
#ifndef BLOCK_SPEC_H
#define BLOCK_SPEC_H

#include "block/block.h"

#define SPEC_KINDS_TEXT "of disks made of several there are concat:, stripe:SIZE: and mirror:"

enum spec_kind { SPEC_LEAF, SPEC_CONCAT, SPEC_STRIPE, SPEC_MIRROR };

enum spec_kind spec_kind(const char *spec);
/** A word and a colon as a kind has them, but none of the kinds: raid5:A. 0, or the length of the
 * word with its colon. It may be a file's name all the same. */
size_t spec_unknown_kind(const char *spec);
/** Where the legs of a spec of several begin; *chunk: the size of a stripe. NULL with *err: what
 * comes before them is wrong. */
const char *spec_legs(const char *spec, uint64_t *chunk, struct block_error *err);

/** The end of the word at s in [s, end): a comma that is not doubled, or end. A leg in brackets is
 * one word: NULL if they do not match. */
const char *spec_word_end(const char *s, const char *end);
/** A copy of the word [s, end) with single commas. NULL: no memory. */
char *spec_word_copy(const char *s, const char *end);

/** A number with K, M, G or T for powers of `base` (1000 or 1024). 0: it is none, or too large. */
uint64_t spec_number(const char *text, uint64_t base);

bool spec_starts(const char *s, const char *prefix);
bool spec_ends(const char *s, const char *suffix);

#endif
