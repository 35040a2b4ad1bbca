/* Text of unknown origin as JSON: names of files and arguments are bytes, JSON is UTF-8. */
#ifndef CONTROL_JSON_TEXT_H
#define CONTROL_JSON_TEXT_H

#include "base/types.h"

struct json_object;

/** A new JSON string of a text. What is not UTF-8 in it (RFC 3629 "UTF-8" §3-4) becomes U+FFFD,
 * once for each byte. The caller puts it; NULL: no memory. */
struct json_object *json_text(const char *text) MUST_CHECK;

#endif
