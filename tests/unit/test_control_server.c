/* The control socket: requests, hostile ones included, answers now and later, watchers of a
 * console. */
#include "control/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- requests ---- */

static struct request r;
static struct vm_error err;

static int parse(const char *line)
{
    return request_parse(line, strlen(line), &r, &err);
}

static void test_good_requests(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"request\":\"hello\"}"), 0);
    assert_int_equal(r.verb, REQUEST_HELLO);
    assert_int_equal(parse("{\"request\":\"stop\"}"), 0);
    assert_int_equal(r.seconds, 30);
    assert_int_equal(parse("{\"seconds\":0, \"request\":\"stop\"}"), 0);
    assert_int_equal(r.verb, REQUEST_STOP);
    assert_int_equal(r.seconds, 0);
    assert_int_equal(parse("{\"request\":\"resize\",\"columns\":80,\"rows\":24}"), 0);
    assert_int_equal(r.columns * 1000 + r.rows, 80024);
    assert_int_equal(parse("{\"request\":\"balloon\",\"memory\":4194304}"), 0);
    assert_int_equal(parse("{ \"requ\\u0065st\" : \"\\u0068ello\" }"), 0);
    assert_int_equal(r.verb, REQUEST_HELLO);
    assert_int_equal(parse("{\"request\":\"balloon\",\"memory\":281474976710656}"), 0);
    assert_int_equal(r.memory, 1ull << 48);
}

static void test_bad_requests(void **state)
{
    static const char *const lines[] = {
        "",
        "{",
        "}",
        "nonsense",
        "[]",
        "null",
        "{}",
        "\"stop\"",
        "{\"request\":7}",
        "{\"request\":null}",
        "{\"request\":\"\"}",
        "{\"request\":\"STOP\"}",
        "{\"request\":\"stop\"} x",
        "{\"request\":\"stop\"}{\"request\":\"stop\"}",
        "{'request':'stop'}",
        "{\"request\":\"stop\",}",
        "{\"request\":\"stop\",\"second\":3}",
        "{\"request\":\"stop\",\"seconds\":\"3\"}",
        "{\"request\":\"stop\",\"seconds\":-1}",
        "{\"request\":\"stop\",\"seconds\":86401}",
        "{\"request\":\"stop\",\"seconds\":1.5}",
        "{\"request\":\"stop\",\"seconds\":99999999999999999999999}",
        "{\"request\":\"stop\",\"seconds\":null}",
        "{\"request\":\"stop\",\"seconds\":[[[[[[1]]]]]]}",
        "{\"request\":\"resize\",\"columns\":80}",
        "{\"request\":\"resize\",\"columns\":0,\"rows\":1}",
        "{\"request\":\"resize\",\"columns\":80,\"rows\":10001}",
        "{\"request\":\"balloon\"}",
        "{\"request\":\"balloon\",\"memory\":0}",
        "{\"request\":\"balloon\",\"memory\":4194303}",
        "{\"request\":\"hello\",\"request\":\"kill\"}",
        "{\"request\":\"kill\",\"request\":\"kill\"}",
        "{\"request\":\"kill\", \"requ\\u0065st\" : \"hello\"}",
        "{\"request\":\"stop\",\"seconds\":1,\"seconds\":2}",
        "{\"request\":\"he\\u0000llo\"}",
        "{\"request\":\"hello\\u0000\"}",
        "{\"request\\u0000x\":\"hello\"}",
        "{\"request\":\"stop\",\"seconds\\u0000\":1}",
        "{\"request\":\"balloon\",\"memory\":281474976710657}",
        "{\"request\":\"hello\",\"x\":1}",
        "{\"request\":\"\\ud800\"}",
        "{\"request\":\"he\xff\"}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        err.text[0] = '\0';
        if (parse(lines[i]) != -1 || !err.text[0] || strchr(err.text, '\n')) {
            fail_msg("taken, or not explained: %s", lines[i]);
        }
    }
    assert_int_equal(request_parse("{\"request\":\"hello\"}\0", 20, &r, &err), -1);
}

/* ---- a server with an owner that is us ---- */

static struct server *s;
static struct request last;
static ticket_t tickets[64];
static unsigned asked;
static char typed[65536];
static size_t typed_len, take_at_most;

static void on_request(void *ctx, const struct request *req, ticket_t ticket)
{
    assert_ptr_equal(ctx, &asked);
    last = *req;
    tickets[asked++ % ARRAY_LEN(tickets)] = ticket;
}

static size_t on_input(void *ctx, const void *bytes, size_t len)
{
    (void)ctx;
    size_t n = len < take_at_most ? len : take_at_most;
    memcpy(typed + typed_len, bytes, n);
    typed_len += n;
    return n;
}

static const struct server_ops ops = {.request = on_request, .input = on_input};

static int set_up(void **state)
{
    (void)state;
    s = calloc(1, sizeof(*s));
    server_init(s, -1, "test");
    server_serve(s, &ops, &asked);
    asked = 0;
    typed_len = 0;
    take_at_most = sizeof(typed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_fini(s);
    free(s);
    return 0;
}

static int new_client(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    server_adopt(s, pair[0]);
    return pair[1];
}

/* As the monitor's loop does, until nothing is left to do. */
static void serve(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct pollfd fds[SERVER_POLL_FDS];
        int wait = server_poll_fds(s, fds);
        if (poll(fds, SERVER_POLL_FDS, 0) <= 0 && wait != 0) {
            return;
        }
        server_step(s, fds);
    }
    fail_msg("the server never rests");
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    serve();
}

/* What the server sent so far, as a string. */
static const char *heard(int fd)
{
    static char text[2 * SERVER_ANSWER_MAX];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static bool gone(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET); /* it had not read all we said */
}

static void test_answers(void **state)
{
    int fd = new_client();
    (void)state;
    say(fd, "{\"request\":\"hello\"}\n");
    assert_non_null(strstr(heard(fd), "\"protocol\":1"));
    say(fd, "{\"request\":\"pau");
    assert_int_equal(asked, 0);
    say(fd, "se\"}\n");
    assert_int_equal(asked, 1);
    assert_int_equal(last.verb, REQUEST_PAUSE);
    assert_string_equal(heard(fd), "");
    server_answer(s, tickets[0], NULL);
    assert_string_equal(heard(fd), "{\"ok\":true}\n");
    server_answer(s, tickets[0], NULL); /* once is enough */
    assert_string_equal(heard(fd), "");
    say(fd, "rubbish\n");
    assert_non_null(strstr(heard(fd), "\"ok\":false"));
    close(fd);
    serve();
}

/* One that waits for its answer is not asked on, others are. */
static void test_answers_come_in_order(void **state)
{
    int fd = new_client(), other = new_client();
    (void)state;
    say(fd, "{\"request\":\"stats\"}\n{\"request\":\"pause\"}\n");
    say(other, "{\"request\":\"resume\"}\n");
    assert_int_equal(asked, 2);
    assert_int_equal(last.verb, REQUEST_RESUME);
    server_answer(s, tickets[1], NULL);
    server_refuse(s, tickets[0], "not \"now\"");
    assert_string_equal(heard(fd), "{\"ok\":false,\"error\":\"not \\\"now\\\"\"}\n");
    assert_string_equal(heard(other), "{\"ok\":true}\n");
    struct pollfd fds[SERVER_POLL_FDS];
    assert_int_equal(server_poll_fds(s, fds), 0); /* the second is here, nothing will wake us */
    poll(fds, SERVER_POLL_FDS, 0);
    server_step(s, fds);
    assert_int_equal(asked, 3);
    assert_int_equal(server_poll_fds(s, fds), -1);
    assert_int_equal(last.verb, REQUEST_PAUSE);
    close(fd);
    close(other);
    serve();
    server_answer(s, tickets[2], NULL); /* to nobody */
}

/* Its place is another's by the time its answer comes. */
static void test_an_answer_reaches_nobody_else(void **state)
{
    int fd = new_client();
    (void)state;
    say(fd, "{\"request\":\"stats\"}\n");
    close(fd);
    serve();
    int other = new_client();
    say(other, "{\"request\":\"pause\"}\n");
    server_answer(s, tickets[0], NULL);
    assert_string_equal(heard(other), "");
    server_answer(s, tickets[1], NULL);
    assert_string_equal(heard(other), "{\"ok\":true}\n");
    close(other);
    serve();
}

static void test_long_lines(void **state)
{
    char line[REQUEST_MAX + 2];
    int fd = new_client();
    (void)state;
    memset(line, ' ', sizeof(line));
    memcpy(line, "{\"request\":\"pause\"}", 19);
    line[REQUEST_MAX - 1] = '\n';
    line[REQUEST_MAX] = '\0';
    say(fd, line); /* the longest there may be */
    assert_int_equal(asked, 1);
    server_answer(s, tickets[0], NULL);
    assert_string_equal(heard(fd), "{\"ok\":true}\n");
    line[REQUEST_MAX - 1] = ' ';
    line[REQUEST_MAX] = '\n';
    line[REQUEST_MAX + 1] = '\0';
    say(fd, line);
    assert_non_null(strstr(heard(fd), "longer"));
    assert_true(gone(fd));
    close(fd);
}

/* Whoever has been silent for longest gives way. */
static void test_too_many_clients(void **state)
{
    int fd[SERVER_CLIENTS];
    (void)state;
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        fd[i] = new_client();
    }
    say(fd[0], "{\"request\":\"hello\"}\n{\"requ");
    assert_non_null(strstr(heard(fd[0]), "protocol"));
    int late = new_client();
    say(late, "{\"request\":\"hello\"}\n");
    assert_non_null(strstr(heard(late), "protocol"));
    assert_non_null(strstr(heard(fd[1]), "too many"));
    assert_true(gone(fd[1]));
    say(fd[0], "est\":\"hello\"}\n");
    assert_non_null(strstr(heard(fd[0]), "protocol"));
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        close(fd[i]);
    }
    close(late);
    serve();
}

/* Those who wait for an answer, and those at the console, do not; and these leave room to others. */
static void test_full_of_work(void **state)
{
    int fd[SERVER_CLIENTS];
    (void)state;
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        bool watches = i < SERVER_WATCHERS;
        fd[i] = new_client();
        say(fd[i], watches ? "{\"request\":\"console\"}\n" : "{\"request\":\"hello\"}\n");
        assert_non_null(strstr(heard(fd[i]), "true"));
    }
    int late = new_client();
    say(late, "{\"request\":\"console\"}\n");
    assert_non_null(strstr(heard(late), "console"));
    assert_non_null(strstr(heard(fd[SERVER_WATCHERS]), "too many clients"));
    assert_true(gone(fd[SERVER_WATCHERS]));
    assert_int_equal(server_watchers(s), SERVER_WATCHERS);
    say(late, "{\"request\":\"inspect\"}\n");
    for (unsigned i = SERVER_WATCHERS + 1; i < SERVER_CLIENTS; i++) {
        say(fd[i], "{\"request\":\"inspect\"}\n");
    }
    int later = new_client();
    assert_non_null(strstr(heard(later), "too many clients"));
    assert_true(gone(later));
    close(later);
    for (unsigned i = 0; i < SERVER_CLIENTS; i++) {
        close(fd[i]);
    }
    close(late);
    serve();
}

/* A client that asks and asks and never listens is asked no more, and costs no more. */
static void test_deaf_client(void **state)
{
    static const char line[] = "{\"request\":\"hello\"}\n";
    int fd = new_client(), other = new_client();
    (void)state;
    size_t sent = 0;
    for (unsigned i = 0; i < 100000; i++) {
        ssize_t n = send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
        sent += (size_t)n;
        if (i % 100 == 0) {
            serve();
        }
    }
    assert_true(sent < 100000 * (sizeof(line) - 1)); /* it was stopped */
    say(other, "{\"request\":\"hello\"}\n");
    assert_non_null(strstr(heard(other), "protocol"));
    close(fd);
    close(other);
    serve();
}

static void test_nobody_serves(void **state)
{
    int fd = new_client();
    (void)state;
    say(fd, "{\"request\":\"stats\"}\n");
    server_serve(s, NULL, NULL); /* the machine reboots */
    assert_non_null(strstr(heard(fd), "ended"));
    say(fd, "{\"request\":\"pause\"}\n");
    assert_string_equal(heard(fd), "");
    assert_int_equal(asked, 1);
    server_serve(s, &ops, &asked);
    serve();
    assert_int_equal(asked, 2);
    close(fd);
    serve();
}

/* ---- consoles ---- */

static void test_watchers(void **state)
{
    int early = new_client(), late = new_client();
    (void)state;
    server_console(s, "before\n", 7);
    say(early, "{\"request\":\"console\",\"lines\":0}\n");
    assert_string_equal(heard(early), "{\"ok\":true}\n");
    assert_int_equal(server_watchers(s), 1);
    server_console(s, "one\ntwo\nthree", 13);
    assert_string_equal(heard(early), "one\ntwo\nthree");
    say(late, "{\"request\":\"console\",\"lines\":2}\nhi");
    assert_string_equal(heard(late), "{\"ok\":true}\ntwo\nthree");
    assert_string_equal(typed, "hi");
    say(early, " there");
    assert_int_equal(typed_len, 8);
    assert_memory_equal(typed, "hi there", 8);
    shutdown(late, SHUT_WR); /* it goes on listening */
    serve();
    server_console(s, "!", 1);
    assert_string_equal(heard(early), "!");
    assert_string_equal(heard(late), "!");
    close(early);
    close(late);
    serve();
    assert_int_equal(server_watchers(s), 0);
}

static void test_slow_watcher_misses_the_middle(void **state)
{
    char block[1024], *all = calloc(1, 8u << 20);
    size_t len = 0;
    int fd = new_client();
    (void)state;
    say(fd, "{\"request\":\"console\"}\n");
    for (unsigned i = 0; i < 2048; i++) {
        snprintf(block, sizeof(block), "%08u", i);
        memset(block + 8, 'x', sizeof(block) - 8);
        server_console(s, block, sizeof(block));
    }
    for (;;) {
        serve();
        ssize_t n = recv(fd, all + len, (8u << 20) - len - 1, 0);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    assert_non_null(strstr(all, "were lost here"));
    assert_memory_equal(all + len - 1024, "00002047xx", 10);
    assert_true(len < 2048u * 1024);
    free(all);
    close(fd);
    serve();
}

static void test_typing_waits_for_the_guest(void **state)
{
    char text[3000];
    int fd = new_client();
    (void)state;
    say(fd, "{\"request\":\"console\"}\n");
    memset(text, 'k', sizeof(text));
    take_at_most = 0;
    assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
    serve();
    struct pollfd fds[SERVER_POLL_FDS];
    assert_in_range(server_poll_fds(s, fds), 1, 100); /* try again by yourself */
    take_at_most = 7;
    for (unsigned i = 0; i < 1000 && typed_len < sizeof(text); i++) {
        server_poll_fds(s, fds);
        poll(fds, SERVER_POLL_FDS, 0);
        server_step(s, fds);
    }
    assert_int_equal(typed_len, sizeof(text));
    assert_int_equal(server_poll_fds(s, fds), -1);
    close(fd);
    serve();
}

static void test_history(void **state)
{
    struct history *h = calloc(1, sizeof(*h));
    const uint8_t *bytes;
    uint64_t lost, at;
    (void)state;
    assert_int_equal(history_tail(h, 10, 100), 0);
    history_add(h, "a\nb\nc\n", 6);
    assert_int_equal(history_tail(h, 0, 100), 6);
    assert_int_equal(history_tail(h, 1, 100), 4);
    assert_int_equal(history_tail(h, 2, 100), 2);
    assert_int_equal(history_tail(h, 9, 100), 0);
    assert_int_equal(history_tail(h, 9, 3), 3);
    for (unsigned i = 0; i < HISTORY_SIZE / 4; i++) {
        history_add(h, "1234\n", 5);
    }
    at = 3;
    size_t n = history_span(h, &at, &bytes, &lost);
    assert_int_equal(lost, 6 + HISTORY_SIZE / 4 * 5 - HISTORY_SIZE - 3);
    assert_int_equal(at, h->total - HISTORY_SIZE);
    at += n;
    n += history_span(h, &at, &bytes, &lost);
    assert_int_equal(lost, 0);
    assert_int_equal(n, HISTORY_SIZE);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_requests),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_come_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_answer_reaches_nobody_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_clients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_of_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deaf_client, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_serves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_watchers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slow_watcher_misses_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_typing_waits_for_the_guest, set_up, tear_down),
        cmocka_unit_test(test_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
