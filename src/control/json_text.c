/* Text of unknown origin as JSON: see json_text.h. No state. */
#include "control/json_text.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The length of the character that a string begins with; 0: it is none. Overlong forms, surrogates
 * and what is above U+10FFFF show in the second byte (RFC 3629 §4). */
static size_t character(const uint8_t *s)
{
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] < 0xc2 || s[0] > 0xf4 || s[1] < low || s[1] > high) {
        return 0;
    }
    size_t len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    for (size_t i = 2; i < len; i++) { /* the string's end is no continuation */
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

struct json_object *json_text(const char *text)
{
    size_t size = strlen(text) * strlen(REPLACEMENT) + 1, len = 0;
    char *clean = malloc(size);
    if (!clean) {
        return NULL;
    }
    while (*text) {
        size_t n = character((const uint8_t *)text);
        memcpy(clean + len, n ? text : REPLACEMENT, n ? n : strlen(REPLACEMENT));
        len += n ? n : strlen(REPLACEMENT);
        text += n ? n : 1;
    }
    struct json_object *o = json_object_new_string_len(clean, (int)len);
    free(clean);
    return o;
}
