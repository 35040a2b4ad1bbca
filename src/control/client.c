/* The control socket's client: see client.h. No state. */
#include "control/client.h"

#include "control/server.h"
#include "control/vm_files.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HUNG_UP_MS 1

static int failed(struct vm_error *err, int code, const char *text)
{
    snprintf(err->text, sizeof(err->text), "%s", text);
    return code;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int client_connect(const struct vm_base *b, const char *name, struct vm_error *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int dir_fd = vm_open_dir(b, name);
    int fd = dir_fd < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/" FILE_CONTROL, dir_fd);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        snprintf(err->text, sizeof(err->text), "its control socket cannot be reached: %s",
                 strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        fd = -1;
    }
    if (dir_fd >= 0) {
        close(dir_fd);
    }
    return fd;
}

struct json_object *client_request(const char *name)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "request", json_object_new_string(name));
    return o;
}

static int send_request(int fd, struct json_object *request, struct vm_error *err)
{
    char line[REQUEST_MAX];
    int len = snprintf(line, sizeof(line), "%s\n",
                       json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
    json_object_put(request);
    /* A line fits into any socket's buffer. */
    if (len >= (int)sizeof(line) || send(fd, line, (size_t)len, MSG_NOSIGNAL) != len) {
        return failed(err, -EPIPE, "its monitor takes no requests");
    }
    return 0;
}

/* One line, without its end, as a string of at most size bytes. */
static int receive_line(int fd, char *line, size_t size, int timeout_ms, struct vm_error *err)
{
    int64_t until = now_ms() + timeout_ms;
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) == 0) {
            return failed(err, -ETIMEDOUT, "its monitor does not answer");
        }
        ssize_t n = recv(fd, line + len, size - 1 - len, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (n <= 0) {
            return n == 0 && len == size - 1 ? failed(err, -EPROTO, "its monitor says too much")
                                             : failed(err, -EPIPE, "its monitor has ended");
        }
        char *end = memchr(line + len, '\n', (size_t)n);
        n = recv(fd, line + len, end ? (size_t)(end + 1 - line) - len : (size_t)n, 0);
        len += n > 0 ? (size_t)n : 0;
        if (end) {
            *end = '\0';
            return 0;
        }
    }
}

/* What the answer's "ok" and "error" say. */
static int judge(struct json_object *answer, struct vm_error *err)
{
    struct json_object *ok, *why;
    if (!json_object_is_type(answer, json_type_object) ||
        !json_object_object_get_ex(answer, "ok", &ok)) {
        return failed(err, -EPROTO, "its monitor answers nonsense");
    }
    if (json_object_get_boolean(ok)) {
        return 0;
    }
    bool said = json_object_object_get_ex(answer, "error", &why);
    return failed(err, -EREMOTEIO, said ? json_object_get_string(why) : "refused");
}

int client_call(int fd, struct json_object *request, struct json_object **answer, int timeout_ms,
                struct vm_error *err)
{
    struct json_object *o = NULL;
    char *line = malloc(SERVER_ANSWER_MAX + 1);
    int rc = line ? send_request(fd, request, err) : failed(err, -ENOMEM, "out of memory");
    if (!rc) {
        rc = receive_line(fd, line, SERVER_ANSWER_MAX + 1, timeout_ms, err);
    } else if (rc == -EPIPE) { /* who hangs up at once may have said why */
        struct vm_error ignored;
        rc = receive_line(fd, line, SERVER_ANSWER_MAX + 1, HUNG_UP_MS, &ignored) ? rc : 0;
    }
    if (!rc) {
        o = json_tokener_parse(line);
        rc = judge(o, err);
    }
    free(line);
    if (!rc && answer) {
        *answer = o;
    } else {
        json_object_put(o);
    }
    return rc;
}

int client_ask(const struct vm_base *b, const char *name, const char *request,
               struct json_object **answer, int timeout_ms, struct vm_error *err)
{
    int fd = client_connect(b, name, err);
    if (fd < 0) {
        return -EPIPE;
    }
    int rc = client_call(fd, client_request(request), answer, timeout_ms, err);
    close(fd);
    return rc;
}
