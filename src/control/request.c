/* Parsing requests. No state. */
#include "control/request.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 4
#define MEMBERS_MAX 2

struct member {
    const char *name;
    size_t offset; /* of the uint64_t in struct request */
    uint64_t min, max, otherwise;
    bool required;
};

struct shape {
    const char *name;
    struct member member[MEMBERS_MAX]; /* the rest: NULL names */
};

#define AT(field) offsetof(struct request, field)

static const struct shape shapes[REQUEST_VERBS] = {
    [REQUEST_HELLO] = {"hello", {{0}}},
    [REQUEST_INSPECT] = {"inspect", {{0}}},
    [REQUEST_STATS] = {"stats", {{0}}},
    [REQUEST_PAUSE] = {"pause", {{0}}},
    [REQUEST_RESUME] = {"resume", {{0}}},
    [REQUEST_STOP] = {"stop", {{"seconds", AT(seconds), 0, REQUEST_SECONDS_MAX, 30, false}}},
    [REQUEST_KILL] = {"kill", {{0}}},
    [REQUEST_CONSOLE] = {"console", {{"lines", AT(lines), 0, REQUEST_LINES_MAX, 24, false}}},
    [REQUEST_RESIZE] = {"resize",
                        {{"columns", AT(columns), 1, REQUEST_SIZE_MAX, 0, true},
                         {"rows", AT(rows), 1, REQUEST_SIZE_MAX, 0, true}}},
    [REQUEST_BALLOON] = {"balloon",
                         {{"memory", AT(memory), REQUEST_MEMORY_MIN, 1ull << 48, 0, true}}},
};

static int bad(struct vm_error *err, const char *what, const char *name)
{
    snprintf(err->text, sizeof(err->text), "%s%s%.40s", what, *name ? ": " : "", name);
    return -1;
}

static int find_shape(struct json_object *verb, struct request *r, struct vm_error *err)
{
    const char *name =
        json_object_is_type(verb, json_type_string) ? json_object_get_string(verb) : "";
    for (unsigned v = 0; v < REQUEST_VERBS; v++) {
        if (strcmp(shapes[v].name, name) == 0) {
            r->verb = (enum request_verb)v;
            return 0;
        }
    }
    return bad(err, *name ? "no such request" : "a request is an object with a string \"request\"",
               name);
}

static int set_member(const struct member *m, struct json_object *value, struct request *r,
                      struct vm_error *err)
{
    uint64_t *to = (uint64_t *)((char *)r + m->offset);
    int64_t n = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int) || n < 0 || (uint64_t)n < m->min ||
        (uint64_t)n > m->max) {
        snprintf(err->text, sizeof(err->text), "\"%s\" is a whole number from %llu to %llu",
                 m->name, (unsigned long long)m->min, (unsigned long long)m->max);
        return -1;
    }
    *to = (uint64_t)n;
    return 0;
}

/* Every member of the object must be one that the request has. */
static int check_names(struct json_object *o, const struct shape *shape, struct vm_error *err)
{
    json_object_object_foreach(o, key, value)
    {
        bool known = strcmp(key, "request") == 0;
        for (unsigned i = 0; i < MEMBERS_MAX && shape->member[i].name; i++) {
            known |= strcmp(key, shape->member[i].name) == 0;
        }
        (void)value;
        if (!known) {
            return bad(err, "this request has no such member", key);
        }
    }
    return 0;
}

static int read_request(struct json_object *o, struct request *r, struct vm_error *err)
{
    struct json_object *value;
    *r = (struct request){0};
    if (!json_object_is_type(o, json_type_object) ||
        !json_object_object_get_ex(o, "request", &value)) {
        return bad(err, "a request is an object with a string \"request\"", "");
    }
    if (find_shape(value, r, err)) {
        return -1;
    }
    const struct shape *shape = &shapes[r->verb];
    if (check_names(o, shape, err)) {
        return -1;
    }
    for (unsigned i = 0; i < MEMBERS_MAX && shape->member[i].name; i++) {
        const struct member *m = &shape->member[i];
        if (json_object_object_get_ex(o, m->name, &value)) {
            if (set_member(m, value, r, err)) {
                return -1;
            }
        } else if (m->required) {
            return bad(err, "this request needs a member", m->name);
        } else {
            *(uint64_t *)((char *)r + m->offset) = m->otherwise;
        }
    }
    return 0;
}

/* What the library does not tell of text that it has accepted: how many members the object was
 * written with, of which it keeps the last of each name; and whether a string in it holds U+0000,
 * behind which it would not be seen. False: it does. */
static bool scan(const char *line, size_t len, int *members)
{
    bool string = false;
    unsigned depth = 0;
    *members = 0;
    for (size_t i = 0; i < len; i++) {
        char c = line[i];
        if (string && c == '\\') {
            if (len - i > 5 && memcmp(line + i + 1, "u0000", 5) == 0) {
                return false;
            }
            i++;
        } else if (c == '"') {
            string = !string;
        } else if (!string) {
            depth += c == '{' || c == '[';
            depth -= c == '}' || c == ']';
            *members += c == ':' && depth == 1;
        }
    }
    return true;
}

static int check_text(const char *line, size_t len, const struct json_object *o,
                      struct vm_error *err)
{
    int members;
    if (!scan(line, len, &members)) {
        return bad(err, "no string in a request has a \\u0000 in it", "");
    }
    if (json_object_is_type(o, json_type_object) && members != json_object_object_length(o)) {
        return bad(err, "a member of a request is there twice", "");
    }
    return 0;
}

int request_parse(const char *line, size_t len, struct request *r, struct vm_error *err)
{
    if (len >= REQUEST_MAX) {
        return bad(err, "a request longer than any has to be", "");
    }
    struct json_tokener *t = json_tokener_new_ex(DEPTH_MAX);
    if (!t) {
        return bad(err, "out of memory", "");
    }
    json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *o = json_tokener_parse_ex(t, line, (int)len);
    bool whole = json_tokener_get_error(t) == json_tokener_success && o &&
                 json_tokener_get_parse_end(t) == len;
    json_tokener_free(t);
    int rc =
        whole ? check_text(line, len, o, err) : bad(err, "not one JSON object on one line", "");
    rc = rc ? rc : read_request(o, r, err);
    json_object_put(o);
    return rc;
}
