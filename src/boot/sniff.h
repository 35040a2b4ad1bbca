/* What a file that is not a kernel looks like, to tell the user something better than "no". */
#ifndef BOOT_SNIFF_H
#define BOOT_SNIFF_H

#include "base/types.h"

/** A noun phrase for the file ("a gzip file", "empty", ...) and, in *remedy, what to do. Both are
 *  constants. len may be 0. */
const char *sniff_file(const uint8_t *bytes, size_t len, const char **remedy);

#endif
