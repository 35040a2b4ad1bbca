/* The switch over real sockets: started on demand, shared, jailed, disturbed by nobody, gone by
 * itself.
 *
 * This program is also the switch, and the helpers of its ports: they are whatever program asked
 * for them, with `switch --serve NAME` or `switch --plug NAME MAC VM`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/switch_process.h"

#define HDR NET_HDR_LEN

static char runtime_dir[] = "/tmp/ring3-test-XXXXXX";
static char name[16]; /* of this test's switch */
static unsigned tests_begun;

/* ---- help ---- */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void sleep_ms(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static struct net_config config(unsigned n)
{
    struct net_config c = {.kind = NET_SWITCH, .vm_name = "tester"};
    memcpy(c.name, name, sizeof(name));
    memcpy(c.mac, (uint8_t[6]){0x52, 0x33, 0, 0, 0, (uint8_t)n}, 6);
    return c;
}

static struct net_port *plug(unsigned n)
{
    struct net_config c = config(n);
    struct net_port *p = NULL;
    struct net_error err = {{0}};
    if (net_open(&c, &p, &err)) {
        fail_msg("%s", err.text);
    }
    assert_memory_equal(p->mac, c.mac, 6);
    return p;
}

/* Send `len` bytes of Ethernet from card src to card dst (0xff: broadcast), numbered. */
static int send_frame(struct net_port *p, unsigned src, unsigned dst, uint32_t number, size_t len)
{
    uint8_t hdr[HDR] = {0};
    static uint8_t frame[NET_FRAME_MAX];
    memcpy(frame, (uint8_t[6]){0x52, 0x33, 0, 0, 0, (uint8_t)dst}, 6);
    memcpy(frame + 6, (uint8_t[6]){0x52, 0x33, 0, 0, 0, (uint8_t)src}, 6);
    if (dst == 0xff) {
        memset(frame, 0xff, 6);
    }
    memcpy(frame + 14, &number, sizeof(number));
    const struct io_vec vec[3] = {{hdr, HDR}, {frame, 20}, {frame + 20, len - 20}};
    return p->ops->send(p, vec, 3);
}

/* The number of the next frame that arrives within ms; -1: none; -2: unplugged. */
static int64_t receive_frame(struct net_port *p, unsigned ms)
{
    static uint8_t buf[HDR + NET_FRAME_MAX];
    struct pollfd wait = {.fd = p->fd, .events = POLLIN};
    int64_t len = p->ops->receive(p, buf);
    if (len == 0 && poll(&wait, 1, (int)ms) == 1) {
        len = p->ops->receive(p, buf);
    }
    if (len <= 0) {
        return len == 0 ? -1 : -2;
    }
    uint32_t number;
    memcpy(&number, buf + HDR + 14, sizeof(number));
    return number;
}

static bool is_switch(const char *pid)
{
    char path[64], line[256] = {0};
    snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0) {
        close(fd);
    }
    char want[64] = "ring3\0switch\0--serve\0";
    size_t at = sizeof("ring3\0switch\0--serve"), len = at + strlen(name) + 1;
    memcpy(want + at, name, strlen(name));
    return n == (ssize_t)len && memcmp(line, want, len) == 0;
}

/* The field of /proc/PID/status as text. */
static void status_field(pid_t pid, const char *field, char *to, size_t size)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    to[0] = '\0';
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, field, strlen(field)) == 0) {
            snprintf(to, size, "%s", line + strlen(field));
        }
    }
    if (f) {
        fclose(f);
    }
}

/* Processes of the switch: the keeper and the jailed one, which is the keeper's child. Returns how
 * many. */
static unsigned find_switch(pid_t *keeper, pid_t *jailed)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    *keeper = *jailed = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !is_switch(e->d_name)) {
            continue;
        }
        char seccomp[64];
        pid_t pid = (pid_t)atoi(e->d_name);
        status_field(pid, "Seccomp:", seccomp, sizeof(seccomp));
        *(atoi(seccomp) == 2 ? jailed : keeper) = pid;
        n++;
    }
    closedir(dir);
    return n;
}

static bool name_exists(void)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/ring3/.switches/%s", runtime_dir, name);
    return lstat(path, &st) == 0;
}

/* Wait until no switch is left, and see that nothing else is either. */
static void expect_end(void)
{
    pid_t keeper, jailed;
    uint64_t end = now_ms() + SWITCH_LINGER_S * 1000 + 8000;
    while (find_switch(&keeper, &jailed) && now_ms() < end) {
        sleep_ms(50);
    }
    assert_int_equal(find_switch(&keeper, &jailed), 0);
    assert_false(name_exists());
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(runtime_dir) && setenv("XDG_RUNTIME_DIR", runtime_dir, 1) == 0 ? 0 : -1;
}

static int next_name(void **state)
{
    (void)state;
    snprintf(name, sizeof(name), "lan%u", ++tests_begun);
    return 0;
}

/* In the end all of them are gone. */
static int teardown(void **state)
{
    (void)state;
    char path[256];
    for (unsigned i = 1; i <= tests_begun; i++) {
        snprintf(name, sizeof(name), "lan%u", i);
        expect_end();
    }
    snprintf(path, sizeof(path), "%s/ring3/.switches", runtime_dir);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/ring3", runtime_dir);
    rmdir(path);
    return rmdir(runtime_dir);
}

/* ---- tests ---- */

static void test_exchange(void **state)
{
    (void)state;
    struct net_port *a = plug(1), *b = plug(2), *c = plug(3);
    assert_string_equal(a->name, "switch=lan1");
    assert_int_equal(a->features, VIRTIO_NET_OFFLOADS);
    assert_int_equal(send_frame(a, 1, 2, 11, 60), 0);
    assert_int_equal(receive_frame(b, 2000), 11);
    assert_int_equal(receive_frame(c, 100), -1);
    assert_int_equal(send_frame(b, 2, 0xff, 12, 1514), 0);
    assert_int_equal(receive_frame(a, 2000), 12);
    assert_int_equal(receive_frame(c, 2000), 12);
    assert_int_equal(send_frame(c, 3, 1, 13, NET_FRAME_MAX), 0);
    assert_int_equal(receive_frame(a, 2000), 13);
    struct switch_report r;
    struct net_error err;
    assert_int_equal(switch_ask(name, &r, &err), 0);
    assert_int_equal(r.ports, 3);
    assert_string_equal(r.port[0].name, "tester");
    assert_int_equal(r.port[0].count.sent_frames, 1);
    assert_int_equal(r.port[0].count.received_frames, 2);
    assert_int_equal(r.port[0].count.received_bytes, 1514 + NET_FRAME_MAX);
    /* one goes: the others stay */
    net_close(b);
    assert_int_equal(send_frame(a, 1, 3, 14, 60), 0);
    assert_int_equal(receive_frame(c, 2000), 14);
    b = plug(2);
    assert_int_equal(send_frame(a, 1, 2, 15, 60), 0);
    assert_int_equal(receive_frame(b, 2000), 15);
    net_close(a);
    net_close(b);
    net_close(c);
    sleep_ms(SWITCH_LINGER_S * 500); /* it lingers: for who comes back at once */
    a = plug(1);
    sleep_ms(SWITCH_LINGER_S * 1000 + 500);
    b = plug(2);
    assert_int_equal(send_frame(a, 1, 2, 16, 60), 0);
    assert_int_equal(receive_frame(b, 2000), 16);
    net_close(a);
    net_close(b);
    expect_end();
}

static void test_jail(void **state)
{
    (void)state;
    char field[64], path[64], target[64];
    pid_t keeper, jailed;
    struct net_port *a = plug(1);
    for (uint64_t end = now_ms() + 5000; now_ms() < end; sleep_ms(20)) {
        if (find_switch(&keeper, &jailed) == 2 && jailed) {
            break;
        }
    }
    assert_true(keeper > 0 && jailed > 0);
    status_field(jailed, "PPid:", field, sizeof(field));
    assert_int_equal(atoi(field), keeper);
    status_field(keeper, "PPid:", field, sizeof(field));
    assert_int_not_equal(atoi(field), getpid());
    assert_int_not_equal(getsid(keeper), getsid(0));
    status_field(jailed, "NoNewPrivs:", field, sizeof(field));
    assert_int_equal(atoi(field), 1);
    status_field(jailed, "CapEff:", field, sizeof(field));
    assert_int_equal(strtoull(field, NULL, 16), 0);
    status_field(jailed, "Uid:", field, sizeof(field));
    assert_true(geteuid() != 0 || atoi(field) == 65534);
    /* Its files: nothing, sockets; ours are not among them. */
    for (unsigned fd = 0; fd < 64 && geteuid() == 0; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)jailed, fd);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = '\0';
            bool socket = strncmp(target, "socket:", 7) == 0;
            assert_true(fd < 3 ? strcmp(target, "/dev/null") == 0 : socket);
            assert_true(fd < 5);
        }
    }
    net_close(a);
}

/* Eight machines that start at once get one switch. */
static void test_race(void **state)
{
    (void)state;
    enum { MACHINES = 8 };
    int go[2], back[2];
    assert_int_equal(pipe(go) | pipe(back), 0);
    for (unsigned i = 0; i < MACHINES; i++) {
        if (fork() == 0) {
            char byte;
            struct net_config c = config(1 + i);
            struct net_port *p;
            struct net_error err;
            close(go[1]);
            (void)!read(go[0], &byte, 1); /* until the other end is closed */
            bool ok = net_open(&c, &p, &err) == 0;
            (void)!write(back[1], ok ? "y" : "n", 1);
            for (;;) { /* answer whatever comes, until killed */
                int64_t number = ok ? receive_frame(p, 30000) : -2;
                if (number < 0) {
                    _exit(0);
                }
                send_frame(p, 1 + i, 100, (uint32_t)number + 1, 60);
            }
        }
    }
    close(go[0]);
    close(go[1]);
    for (unsigned i = 0; i < MACHINES; i++) {
        char answer = 0;
        assert_int_equal(read(back[0], &answer, 1), 1);
        assert_int_equal(answer, 'y');
    }
    struct net_port *p = plug(100);
    struct switch_report r;
    struct net_error err;
    pid_t keeper, jailed;
    assert_int_equal(switch_ask(name, &r, &err), 0);
    assert_int_equal(r.ports, MACHINES + 1);
    assert_int_equal(find_switch(&keeper, &jailed), 2);
    send_frame(p, 100, 0xff, 41, 60);
    for (unsigned i = 0; i < MACHINES; i++) {
        assert_int_equal(receive_frame(p, 5000), 42);
    }
    close(back[0]);
    close(back[1]);
    net_close(p);
    for (unsigned i = 0; i < r.ports; i++) {
        send_frame(p = plug(200), 200, 0xff, 1, 60); /* they are still there */
        net_close(p);
    }
    kill(jailed, SIGKILL); /* the children see the end, and go */
    while (wait(NULL) > 0) {
    }
}

/* Wait until the port's link is up, or down. */
static void expect_link(struct net_port *p, bool up, unsigned ms)
{
    static uint8_t buf[HDR + NET_FRAME_MAX];
    for (uint64_t end = now_ms() + ms; p->down == up && now_ms() < end;) {
        struct pollfd wait = {.fd = p->fd, .events = POLLIN};
        poll(&wait, 1, 100);
        assert_true(p->ops->receive(p, buf) >= 0);
    }
    assert_int_equal(p->down, !up);
}

/* The one child of this process that is not a switch's starter. */
static pid_t find_helper(void)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    if (fscanf(f, "%d", &pid) != 1) {
        pid = 0;
    }
    fclose(f);
    return pid;
}

/* The switch is killed: its ports notice, lose what is sent meanwhile, and find each other again.
 */
static void test_killed(void **state)
{
    (void)state;
    pid_t keeper, jailed, next;
    struct net_port *a = plug(1), *b = plug(2);
    a->ops->set_features(a, VIRTIO_NET_F_GUEST_CSUM);
    for (unsigned i = 0; i < 2; i++) {
        sleep_ms(100);
        find_switch(&keeper, &jailed);
        assert_true(keeper && jailed);
        if (i == 1) { /* without a keeper: the name stays, and is in nobody's way */
            kill(keeper, SIGKILL);
        }
        kill(jailed, SIGKILL);
        expect_link(a, false, 3000);
        assert_int_equal(send_frame(a, 1, 2, 1, 60), 0); /* lost, quietly */
        expect_link(b, false, 3000);
        expect_link(a, true, 5000);
        expect_link(b, true, 5000);
        find_switch(&keeper, &next);
        assert_int_not_equal(next, jailed);
        assert_int_equal(send_frame(a, 1, 2, 5, 60), 0);
        assert_int_equal(receive_frame(b, 2000), 5);
        assert_int_equal(send_frame(b, 2, 1, 6, 1500), 0);
        assert_int_equal(receive_frame(a, 2000), 6);
    }
    struct switch_report r; /* the new one knows what it has to */
    struct net_error err;
    assert_int_equal(switch_ask(name, &r, &err), 0);
    assert_int_equal(r.ports, 2);
    for (unsigned i = 0; i < r.ports; i++) {
        bool first = r.port[i].mac[5] == 1;
        assert_int_equal(r.port[i].features, first ? VIRTIO_NET_F_GUEST_CSUM : 0);
        assert_string_equal(r.port[i].name, "tester");
    }
    net_close(a);
    net_close(b);
    assert_int_equal(find_helper(), 0);
    expect_end();
}

/* A port whose address somebody else has by the time it comes back waits until that has gone. */
static void test_killed_and_taken(void **state)
{
    (void)state;
    pid_t keeper, jailed;
    uint8_t mac[6] = {0x52, 0x33, 0, 0, 0, 1};
    struct net_error err;
    struct net_port *a = plug(1);
    sleep_ms(100);
    find_switch(&keeper, &jailed);
    kill(jailed, SIGKILL);
    int thief = switch_join(name, mac, "thief", &err);
    assert_true(thief >= 0);
    expect_link(a, false, 3000);
    sleep_ms(500);
    uint8_t buf[2000];
    assert_int_equal(a->ops->receive(a, buf), 0);
    assert_true(a->down);
    close(thief);
    expect_link(a, true, 8000);
    net_close(a);
    expect_end();
}

/* Without its helper a port is unplugged for good. */
static void test_helper_killed(void **state)
{
    (void)state;
    pid_t keeper, jailed;
    struct net_port *a = plug(1);
    sleep_ms(100);
    find_switch(&keeper, &jailed);
    pid_t helper = find_helper();
    assert_true(helper > 0);
    kill(helper, SIGKILL);
    assert_int_equal(send_frame(a, 1, 2, 1, 60), 0);
    assert_int_equal(receive_frame(a, 100), -1);
    kill(jailed, SIGKILL);
    assert_int_equal(receive_frame(a, 3000), -2);
    assert_int_equal(send_frame(a, 1, 2, 1, 60), 0);
    net_close(a);
    expect_end();
}

static void test_refusals(void **state)
{
    (void)state;
    struct net_port *a = plug(1), *p;
    struct net_config c = config(1);
    struct net_error err = {{0}};
    c.vm_name = "other";
    assert_int_equal(net_open(&c, &p, &err), -1);
    assert_non_null(strstr(err.text, "machine 'tester' is on it with the same mac"));
    struct net_port *many[SWITCH_PORTS_MAX];
    for (unsigned i = 1; i < SWITCH_PORTS_MAX; i++) {
        many[i] = plug(1 + i);
    }
    c = config(200);
    assert_int_equal(net_open(&c, &p, &err), -1);
    assert_non_null(strstr(err.text, "64 ports"));
    for (unsigned i = 1; i < SWITCH_PORTS_MAX; i++) {
        net_close(many[i]);
    }
    net_close(a);
    struct switch_report r;
    assert_int_equal(switch_ask("nowhere", &r, &err), -1);
    assert_non_null(strstr(err.text, "no switch nowhere runs"));
}

/* A port that does not read loses its own frames, and nobody else's. */
static void test_slow_port(void **state)
{
    (void)state;
    struct net_port *a = plug(1), *slow = plug(2), *c = plug(3);
    uint64_t end = now_ms() + 10000;
    unsigned refused = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        while (send_frame(a, 1, 2, i, 1514) == -EAGAIN) {
            struct pollfd wait = {.fd = a->fd, .events = POLLOUT};
            refused++;
            assert_true(poll(&wait, 1, 2000) == 1 && now_ms() < end);
        }
    }
    (void)refused; /* may be none: the switch is quick */
    assert_int_equal(send_frame(a, 1, 3, 77, 60), 0);
    assert_int_equal(receive_frame(c, 3000), 77);
    struct switch_report r;
    struct net_error err;
    assert_int_equal(switch_ask(name, &r, &err), 0);
    assert_true(r.port[1].count.dropped > 1000);
    assert_int_equal(r.port[1].count.dropped + r.port[1].count.received_frames, 3000);
    assert_int_equal(receive_frame(slow, 1000), 0); /* the first ones are there */
    net_close(a);
    net_close(slow);
    net_close(c);
}

/* What a driver takes reaches the switch: checksums are left to it, or made. */
static void test_features(void **state)
{
    (void)state;
    static uint8_t buf[HDR + NET_FRAME_MAX];
    struct net_port *a = plug(1), *b = plug(2);
    uint8_t hdr[HDR] = {1, 0, 0, 0, 0, 0, 20, 0, 2, 0};
    uint8_t frame[60] = {0x52, 0x33, 0, 0, 0, 2, 0x52, 0x33, 0, 0, 0, 1, 8, 0};
    const struct io_vec vec[2] = {{hdr, HDR}, {frame, sizeof(frame)}};
    for (int takes = 0; takes < 2; takes++) {
        b->ops->set_features(b, takes ? VIRTIO_NET_F_GUEST_CSUM : 0);
        assert_int_equal(send_frame(b, 2, 1, 9, 60), 0); /* behind the features */
        assert_int_equal(receive_frame(a, 2000), 9);
        assert_int_equal(a->ops->send(a, vec, 2), 0);
        struct pollfd wait = {.fd = b->fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 2000), 1);
        assert_int_equal(b->ops->receive(b, buf), HDR + 60);
        assert_int_equal(buf[0], takes);
        assert_int_equal(buf[HDR + 22] == 0xff && buf[HDR + 23] == 0xff, !takes);
    }
    net_close(a);
    net_close(b);
}

static int raw_connection(void)
{
    struct net_error err;
    int dir = switch_dir_open(false, &err);
    assert_true(dir >= 0);
    int fd = switch_dir_connect(dir, name);
    assert_true(fd >= 0);
    close(dir);
    return fd;
}

static void test_hostile(void **state)
{
    (void)state;
    static uint8_t noise[100000];
    struct net_port *a = plug(1), *b = plug(2);
    struct switch_hello hello = {.magic = SWITCH_MAGIC, .version = SWITCH_VERSION};
    srand(3);
    for (unsigned i = 0; i < 200; i++) { /* hellos that are none */
        int fd = raw_connection();
        for (size_t k = 0; k < sizeof(hello); k++) {
            noise[k] = (uint8_t)rand();
        }
        size_t len = i % 3 ? sizeof(hello) : (size_t)rand() % 300;
        memcpy(noise, &hello, i % 4 ? 0 : 4);
        (void)!send(fd, noise, len, MSG_NOSIGNAL);
        close(fd);
    }
    int silent = raw_connection();
    int fd = raw_connection(); /* a port that then misbehaves */
    memcpy(hello.mac, (uint8_t[6]){0x52, 0x33, 0, 0, 0, 3}, 6);
    memset(hello.name, 'x', sizeof(hello.name)); /* no end */
    struct switch_welcome w;
    assert_int_equal(send(fd, &hello, sizeof(hello), 0), sizeof(hello));
    assert_int_equal(recv(fd, &w, sizeof(w), 0), sizeof(w));
    assert_int_equal(w.refusal, SWITCH_WELCOME);
    for (unsigned i = 0; i < 3000; i++) {
        size_t len = 1 + (size_t)rand() % (i % 10 ? 200 : sizeof(noise));
        for (size_t k = 0; k < len && k < 300; k++) {
            noise[k] = (uint8_t)(rand() % 3 ? 0 : rand());
        }
        (void)!send(fd, noise, len, MSG_NOSIGNAL);
    }
    struct switch_report r;
    struct net_error err;
    assert_int_equal(switch_ask(name, &r, &err), 0);
    assert_int_equal(r.ports, 3);
    assert_int_equal(strlen(r.port[2].name), sizeof(hello.name) - 1);
    assert_true(r.port[2].count.bad > 0);
    while (receive_frame(a, 50) >= 0) { /* what of it was a frame */
    }
    while (receive_frame(b, 50) >= 0) {
    }
    assert_int_equal(send_frame(a, 1, 2, 21, 60), 0);
    assert_int_equal(receive_frame(b, 2000), 21);
    struct pollfd wait = {.fd = silent, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 8000), 1); /* shown out */
    assert_int_equal(recv(silent, noise, 1, 0), 0);
    close(silent);
    close(fd);
    net_close(a);
    net_close(b);
}

static void test_other_user(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    struct net_port *a = plug(1);
    struct net_error err;
    int dir = switch_dir_open(false, &err);
    assert_int_equal(fchmod(dir, 0755) | fchmodat(dir, name, 0777, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        struct switch_hello hello = {.magic = SWITCH_MAGIC, .version = SWITCH_VERSION};
        struct switch_welcome w;
        hello.mac[0] = 2;
        if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
            setresuid(65534, 65534, 65534)) {
            _exit(2);
        }
        int fd = switch_dir_connect(dir, name);
        (void)!send(fd, &hello, sizeof(hello), MSG_NOSIGNAL);
        _exit(recv(fd, &w, sizeof(w), 0) > 0 ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(fchmod(dir, 0700), 0);
    close(dir);
    net_close(a);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "switch") == 0 && strcmp(argv[2], "--serve") == 0) {
        return switch_serve(argv[3]);
    }
    if (argc == 6 && strcmp(argv[1], "switch") == 0 && strcmp(argv[2], "--plug") == 0) {
        return switch_plug_serve(argv[3], argv[4], argv[5]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_exchange, next_name),
        cmocka_unit_test_setup(test_jail, next_name),
        cmocka_unit_test_setup(test_race, next_name),
        cmocka_unit_test_setup(test_killed, next_name),
        cmocka_unit_test_setup(test_killed_and_taken, next_name),
        cmocka_unit_test_setup(test_helper_killed, next_name),
        cmocka_unit_test_setup(test_refusals, next_name),
        cmocka_unit_test_setup(test_slow_port, next_name),
        cmocka_unit_test_setup(test_features, next_name),
        cmocka_unit_test_setup(test_hostile, next_name),
        cmocka_unit_test_setup(test_other_user, next_name),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
