/* The control socket's client: the verbs talk to monitors by it (docs/control.md). */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include "control/vm_dir.h"

struct json_object;

/** Connect to a machine's monitor. The socket, or -1 with *err. */
int client_connect(const struct vm_base *b, const char *name, struct vm_error *err) MUST_CHECK;
/** Send a request, which is taken over, and wait at most timeout_ms for its answer. 0: *answer (if
 * answer is not NULL) is to be put. Else *err says why: -EREMOTEIO the monitor refused, -ETIMEDOUT
 * it does not answer, -EPIPE it has gone, -EPROTO what it says makes no sense. Not a byte after the
 * answer's line is read. */
int client_call(int fd, struct json_object *request, struct json_object **answer, int timeout_ms,
                struct vm_error *err) MUST_CHECK;
/** The same for a request without members, on a connection of its own. */
int client_ask(const struct vm_base *b, const char *name, const char *request,
               struct json_object **answer, int timeout_ms, struct vm_error *err) MUST_CHECK;
/** {"request": name} */
struct json_object *client_request(const char *name) MUST_CHECK;

#endif
