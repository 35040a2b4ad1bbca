/* --net user: with Debian's passt where that is installed, and with a passt made here that is as
 * difficult as one can be.
 *
 * The latter is this program itself under the name of passt, first in PATH; FAKE_PASST says what it
 * does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/passt.h"

#define HDR NET_HDR_LEN

static char fake_dir[] = "/tmp/ring3-test-XXXXXX";
static char fake_path[512], real_path[400];

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the passt made here ---- */

static bool read_all(int fd, uint8_t *to, size_t len)
{
    while (len) {
        ssize_t n = read(fd, to, len);
        if (n <= 0) {
            return false;
        }
        to += n;
        len -= (size_t)n;
    }
    return true;
}

/* In pieces of any size, so that none of them ends where a frame does. */
static void write_pieces(int fd, const uint8_t *from, size_t len, size_t piece)
{
    while (len) {
        size_t part = len < piece ? len : piece;
        ssize_t n = write(fd, from, part);
        if (n <= 0) {
            _exit(0);
        }
        from += n;
        len -= (size_t)n;
    }
}

static uint32_t length_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Give every frame back, slowly and in pieces; the first answers our question. */
static void echo(size_t piece, bool slow)
{
    static uint8_t frame[4 + 70000];
    while (read_all(3, frame, 4)) {
        uint32_t len = length_at(frame);
        if (len > 70000 || !read_all(3, frame + 4, len)) {
            _exit(1);
        }
        if (slow) {
            usleep(1000);
        }
        write_pieces(3, frame, 4 + len, piece);
    }
}

static int be_passt(const char *how)
{
    static const uint8_t huge[8] = {0, 1, 0, 200}, tiny[8] = {0, 0, 0, 13};
    if (strcmp(how, "echo") == 0) {
        echo(70004, false);
    } else if (strcmp(how, "pieces") == 0) {
        echo(7, false);
    } else if (strcmp(how, "slow") == 0) {
        echo(70004, true);
    } else if (strcmp(how, "fails") == 0) {
        fputs("Failed to send 3 bytes to syslog\nDon't run as root. Changing to nobody...\n"
              "The moon is in the wrong house\n\nFailed to send 3 bytes to syslog\n",
              stderr);
        return 1;
    } else if (strcmp(how, "huge") == 0 || strcmp(how, "tiny") == 0) {
        uint8_t question[46], answer[24] = {0, 0, 0, 20};
        (void)!read(3, question, sizeof(question));
        (void)!write(3, answer, sizeof(answer));
        (void)!write(3, how[0] == 'h' ? huge : tiny, 8);
        pause();
    }
    return 0;
}

/* ---- help ---- */

static struct net_port *plug(const struct net_config *c)
{
    struct net_port *p = NULL;
    struct net_error err = {{0}};
    if (net_open(c, &p, &err)) {
        fail_msg("%s", err.text);
    }
    return p;
}

static struct net_port *plug_fake(const char *how)
{
    static const struct net_config c = {.kind = NET_USER};
    setenv("PATH", fake_path, 1);
    setenv("FAKE_PASST", how, 1);
    return plug(&c);
}

static void use_real(void)
{
    setenv("PATH", real_path, 1);
}

static bool real_is_there(void)
{
    char path[400];
    snprintf(path, sizeof(path), "%s", real_path);
    for (char *save, *dir = strtok_r(path, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        char file[512];
        snprintf(file, sizeof(file), "%s/passt", dir);
        if (access(file, X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static int send_frame(struct net_port *p, const void *frame, size_t len)
{
    uint8_t hdr[HDR] = {0}, copy[70000];
    memcpy(copy, frame, len);
    size_t half = len / 2;
    const struct io_vec vec[3] = {{hdr, HDR}, {copy, half}, {copy + half, len - half}};
    return p->ops->send(p, vec, 3);
}

static int64_t receive(struct net_port *p, uint8_t *buf, unsigned ms)
{
    uint64_t end = now_ms() + ms;
    int64_t len;
    while ((len = p->ops->receive(p, buf)) == 0 && now_ms() < end) {
        struct pollfd wait = {.fd = p->fd, .events = (short)(POLLIN | (p->unsent ? POLLOUT : 0))};
        poll(&wait, 1, (int)ms);
        if (p->unsent && (wait.revents & POLLOUT)) {
            p->ops->flush(p);
        }
    }
    return len;
}

static int setup(void **state)
{
    (void)state;
    char self[400], link[64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0 || !mkdtemp(fake_dir)) {
        return -1;
    }
    self[n] = '\0';
    snprintf(link, sizeof(link), "%s/passt", fake_dir);
    snprintf(real_path, sizeof(real_path), "%s", getenv("PATH"));
    snprintf(fake_path, sizeof(fake_path), "%s:%s", fake_dir, real_path);
    return symlink(self, link);
}

static int teardown(void **state)
{
    (void)state;
    char link[64];
    snprintf(link, sizeof(link), "%s/passt", fake_dir);
    unlink(link);
    return rmdir(fake_dir);
}

/* ---- frames ---- */

static void exchange(const char *how, size_t max, unsigned frames)
{
    static uint8_t frame[70000], buf[HDR + NET_FRAME_MAX];
    struct net_port *p = plug_fake(how);
    uint32_t sent = 0, received = 0;
    uint64_t end = now_ms() + 20000;
    srand(5);
    while (received < frames) {
        assert_true(now_ms() < end);
        size_t len = 14 + (sent * 7919u) % (max - 13);
        memset(frame, (int)sent, len);
        memcpy(frame, &sent, 4);
        int rc = sent < frames ? send_frame(p, frame, len) : -EAGAIN;
        sent += rc == 0;
        if (rc == 0 && rand() % 4) {
            continue; /* let some pile up */
        }
        int64_t got = receive(p, buf, rc ? 2000 : 0);
        if (got == 0) {
            continue;
        }
        size_t due = 14 + (received * 7919u) % (max - 13);
        assert_int_equal(got, HDR + due);
        memset(frame, (int)received, due);
        memcpy(frame, &received, 4);
        assert_memory_equal(buf + HDR, frame, due);
        assert_memory_equal(buf, ((uint8_t[HDR]){0}), HDR);
        received++;
    }
    net_close(p);
}

static void test_frames(void **state)
{
    (void)state;
    exchange("echo", NET_FRAME_MAX, 500);
}

static void test_frames_in_pieces(void **state)
{
    (void)state;
    exchange("pieces", 600, 300);
}

static void test_frames_slow(void **state)
{
    (void)state;
    exchange("slow", NET_FRAME_MAX, 200);
}

/* What was taken only in part goes out without anybody's sending more. */
static void test_rest_is_flushed(void **state)
{
    (void)state;
    static uint8_t frame[NET_FRAME_MAX], buf[HDR + NET_FRAME_MAX];
    struct net_port *p = plug_fake("slow");
    unsigned sent = 0;
    while (!p->unsent) {
        assert_true(sent < 1000);
        assert_int_equal(send_frame(p, frame, sizeof(frame) - sent), 0);
        sent++;
    }
    assert_int_equal(send_frame(p, frame, 60), -EAGAIN);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(receive(p, buf, 5000), HDR + sizeof(frame) - i);
    }
    assert_false(p->unsent);
    assert_int_equal(send_frame(p, frame, 60), 0);
    assert_int_equal(receive(p, buf, 5000), HDR + 60);
    net_close(p);
}

static void test_nonsense(void **state)
{
    (void)state;
    static uint8_t buf[HDR + NET_FRAME_MAX];
    struct net_port *p = plug_fake("huge");
    assert_true(receive(p, buf, 2000) < 0);
    uint64_t before = now_ms();
    net_close(p); /* it does not end by itself */
    assert_true(now_ms() < before + 3000);
    p = plug_fake("tiny");
    assert_true(receive(p, buf, 2000) < 0);
    net_close(p);
}

/* A ping to the host is answered without passt; the fake one would give back the question. */
static void test_ping(void **state)
{
    (void)state;
    static uint8_t frame[98] = {
        0x52, 0x33, 0,  0,  0, 2, 0x52, 0x33, 0,    0,   0,    9,    8,  0, /* Ethernet */
        0x45, 0,    0,  84, 0, 0, 0x40, 0,    64,   1,   0x22, 0x99, 10, 0,
        2,    15,   10, 0,  2, 2, 8,    0,    0xf7, 0xff};
    static uint8_t buf[HDR + NET_FRAME_MAX];
    struct net_port *p = plug_fake("echo");
    assert_int_equal(send_frame(p, frame, sizeof(frame)), 0);
    assert_true(p->ready);
    assert_int_equal(p->ops->receive(p, buf), HDR + sizeof(frame));
    assert_int_equal(buf[HDR + 34], 0);
    assert_int_equal(p->ops->receive(p, buf), 0);
    assert_false(p->ready);
    frame[33] = 3; /* to somebody else */
    assert_int_equal(send_frame(p, frame, sizeof(frame)), 0);
    assert_false(p->ready);
    assert_int_equal(receive(p, buf, 2000), HDR + sizeof(frame));
    assert_int_equal(buf[HDR + 34], 8);
    net_close(p);
}

/* ---- what goes wrong at the start ---- */

static void expect_refusal(const struct net_config *c, const char *says)
{
    struct net_port *p;
    struct net_error err = {{0}};
    assert_int_equal(net_open(c, &p, &err), -1);
    if (!strstr(err.text, says) || strchr(err.text, '\n')) {
        fail_msg("'%s' does not say '%s'", err.text, says);
    }
}

static void test_mistakes(void **state)
{
    (void)state;
    struct net_config c = {.kind = NET_USER};
    setenv("PATH", fake_path, 1);
    setenv("FAKE_PASST", "fails", 1);
    expect_refusal(&c, "passt does not start: The moon is in the wrong house");
    setenv("FAKE_PASST", "ends", 1);
    expect_refusal(&c, "passt does not start: it says nothing");
    setenv("PATH", "/nowhere", 1);
    expect_refusal(&c, "install the package passt");
    use_real();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

/* A socket bound to a port that the kernel chooses. */
static int occupy(int type, uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    if (type == SOCK_STREAM) {
        assert_int_equal(listen(fd, 1), 0);
    }
    *port = ntohs(a.sin_port);
    return fd;
}

static void test_ports(void **state)
{
    (void)state;
    struct net_config c = {
        .kind = NET_USER, .forwards = 1, .forward = {{.guest_port = 1, .count = 1}}};
    struct net_forward *f = &c.forward[0];
    struct net_error err;
    int tcp = occupy(SOCK_STREAM, &f->host_port);
    expect_refusal(&c, "in use");
    memcpy(f->host_addr, "127.0.0.1", 10);
    expect_refusal(&c, "in use");
    f->host_port--;
    f->count = 2; /* a range with it at the end */
    expect_refusal(&c, "in use");
    close(tcp);
    int udp = occupy(SOCK_DGRAM, &f->host_port);
    f->count = 1;
    assert_int_equal(passt_check_ports(f, &err), 0); /* of TCP */
    f->udp = true;
    expect_refusal(&c, "UDP port");
    close(udp);
    assert_int_equal(passt_check_ports(f, &err), 0);
    memcpy(f->host_addr, "192.0.2.77", 11);
    expect_refusal(&c, "the host has no address 192.0.2.77");
    if (geteuid() != 0) {
        f->host_addr[0] = '\0';
        f->host_port = 7;
        expect_refusal(&c, "root's");
    }
}

/* ---- the real one ---- */

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static const uint8_t our_mac[6] = {0x52, 0x33, 0, 0, 0, 9};

/* DHCPDISCOVER. Returns its length. */
static size_t make_discover(uint8_t *frame)
{
    enum { BOOTP = 300, UDP = 8 + BOOTP, IP = 20 + UDP };
    uint8_t *ip = frame + 14, *udp = ip + 20, *dhcp = udp + 8;
    uint32_t sum = 0;
    memset(frame, 0, 14 + IP);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, our_mac, 6);
    put16(frame + 12, 0x800);
    ip[0] = 0x45;
    put16(ip + 2, IP);
    ip[8] = 64;
    ip[9] = 17;
    memset(ip + 16, 0xff, 4);
    for (unsigned i = 0; i < 20; i += 2) {
        sum += get16(ip + i);
    }
    put16(ip + 10, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
    put16(udp, 68);
    put16(udp + 2, 67);
    put16(udp + 4, UDP);
    memcpy(dhcp, (uint8_t[8]){1, 1, 6, 0, 1, 2, 3, 4}, 8);
    memcpy(dhcp + 28, our_mac, 6);
    memcpy(dhcp + 236, (uint8_t[8]){99, 130, 83, 99, 53, 1, 1, 255}, 8);
    return 14 + IP;
}

/* The next frame for which `wanted`; 0: none in time. */
static int64_t wait_for(struct net_port *p, uint8_t *buf, bool (*wanted)(const uint8_t *frame))
{
    uint64_t end = now_ms() + 5000;
    int64_t len;
    while (now_ms() < end && (len = receive(p, buf, 1000)) >= 0) {
        if (len > 0 && wanted(buf + HDR)) {
            return len;
        }
    }
    return 0;
}

static bool is_offer(const uint8_t *f)
{
    return get16(f + 12) == 0x800 && f[23] == 17 && get16(f + 36) == 68 && f[14 + 28] == 2;
}

static bool is_syn(const uint8_t *f)
{
    return get16(f + 12) == 0x800 && f[23] == 6 && (f[47] & 0x12) == 2;
}

static bool is_udp_7(const uint8_t *f)
{
    return get16(f + 12) == 0x800 && f[23] == 17 && get16(f + 36) == 7;
}

static void check_real(struct net_port *p)
{
    static uint8_t buf[HDR + NET_FRAME_MAX], frame[600];
    assert_int_equal(p->mtu, 65520);
    assert_int_equal(send_frame(p, frame, make_discover(frame)), 0);
    assert_true(wait_for(p, buf, is_offer) > 0);
    const uint8_t *dhcp = buf + HDR + 14 + 28;
    assert_memory_equal(dhcp + 16, ((uint8_t[4]){10, 0, 2, 15}), 4);
}

static void test_real(void **state)
{
    (void)state;
    static uint8_t buf[HDR + NET_FRAME_MAX];
    struct net_config c = {.kind = NET_USER, .forwards = 2};
    use_real();
    if (!real_is_there()) {
        skip();
    }
    memcpy(c.mac, our_mac, 6);
    uint16_t tcp_port, udp_port;
    close(occupy(SOCK_STREAM, &tcp_port));
    close(occupy(SOCK_DGRAM, &udp_port));
    c.forward[0] = (struct net_forward){.host_port = tcp_port, .guest_port = 80, .count = 1};
    c.forward[1] = (struct net_forward){
        .host_addr = "127.0.0.1", .host_port = udp_port, .guest_port = 7, .count = 1, .udp = true};
    struct net_port *p = plug(&c);
    check_real(p);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    a.sin_port = htons(tcp_port);
    assert_true(connect(tcp, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
    assert_true(wait_for(p, buf, is_syn) > 0);
    assert_int_equal(get16(buf + HDR + 36), 80);
    assert_memory_equal(buf + HDR + 30, ((uint8_t[4]){10, 0, 2, 15}), 4);
    a.sin_port = htons(udp_port);
    assert_int_equal(sendto(udp, "hello", 5, 0, (struct sockaddr *)&a, sizeof(a)), 5);
    assert_true(wait_for(p, buf, is_udp_7) > 0);
    assert_memory_equal(buf + HDR + 42, "hello", 5);
    close(tcp);
    close(udp);
    net_close(p);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    p = plug(&c); /* its ports are free at once: a machine that reboots needs them */
    net_close(p);
}

/* However we end, it ends too. */
static void test_real_ends_with_us(void **state)
{
    (void)state;
    if (!real_is_there()) {
        skip();
    }
    int back[2];
    assert_int_equal(pipe(back), 0);
    pid_t child = fork();
    if (child == 0) {
        struct passt_process process;
        struct net_error err;
        const struct net_config c = {.kind = NET_USER};
        int rc = passt_start(&c, our_mac, &process, &err);
        (void)!write(back[1], rc ? &rc : &process.pid, sizeof(int));
        pause();
    }
    int pid = -1;
    assert_int_equal(read(back[0], &pid, sizeof(pid)), sizeof(pid));
    assert_true(pid > 0 && kill(pid, 0) == 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    uint64_t end = now_ms() + 5000;
    while (kill(pid, 0) == 0 && now_ms() < end) {
        usleep(10000);
    }
    assert_int_equal(kill(pid, 0), -1);
    close(back[0]);
    close(back[1]);
}

/* A host, or a container, that has no network of its own. */
static void test_real_without_network(void **state)
{
    (void)state;
    if (!real_is_there()) {
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        struct net_config c = {.kind = NET_USER};
        memcpy(c.mac, our_mac, 6);
        if (unshare(CLONE_NEWNET)) {
            _exit(77);
        }
        struct net_port *p = plug(&c);
        check_real(p);
        net_close(p);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *how = getenv("FAKE_PASST");
    if (how && argc > 0 && strcmp(name ? name + 1 : argv[0], "passt") == 0) {
        return be_passt(how);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_frames_in_pieces),
        cmocka_unit_test(test_frames_slow),
        cmocka_unit_test(test_rest_is_flushed),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_real_ends_with_us),
        cmocka_unit_test(test_real_without_network),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
