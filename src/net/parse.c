/* The arguments of --net and -p. No state; any thread. */
#include "net/net.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define TAP_NAME_MAX 15u /* what Linux has room for */

#define FAIL(err, ...) (fmt_line((err)->text, sizeof((err)->text), __VA_ARGS__), -1)

/* ---- words ---- */

struct word {
    const char *at;
    size_t len;
};

static bool is(struct word w, const char *text)
{
    return w.len == strlen(text) && memcmp(w.at, text, w.len) == 0;
}

/* Cut off *rest up to the next `stop` (which goes too), or all of it. */
static struct word cut(struct word *rest, char stop)
{
    const char *end = memchr(rest->at, stop, rest->len);
    struct word first = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t gone = end ? first.len + 1 : first.len;
    *rest = (struct word){rest->at + gone, rest->len - gone};
    return first;
}

/* A decimal number up to max. */
static bool number(struct word w, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < w.len; i++) {
        unsigned digit = (unsigned)(w.at[i] - '0');
        if (digit > 9 || value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return w.len > 0;
}

/* ---- --net ---- */

static bool name_char(char c, bool first)
{
    bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return alnum || (!first && (c == '-' || c == '_' || c == '.'));
}

static int parse_name(const char *arg, struct word name, struct net_config *c,
                      struct net_error *err)
{
    const char *what = c->kind == NET_TAP ? "tap" : "switch";
    size_t max = c->kind == NET_TAP ? TAP_NAME_MAX : sizeof(c->name) - 1;
    if (name.len == 0) {
        return FAIL(err, "--net %s: the %s needs a name: %s=NAME", arg, what, what);
    }
    if (name.len > max) {
        return FAIL(err, "--net %s: the name of a %s has %zu characters at most", arg, what, max);
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!name_char(name.at[i], i == 0)) {
            return FAIL(err,
                        "--net %s: the name of a %s is letters and digits, and - _ . after the "
                        "first",
                        arg, what);
        }
    }
    memcpy(c->name, name.at, name.len);
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int parse_mac(const char *arg, struct word value, struct net_config *c,
                     struct net_error *err)
{
    static const uint8_t none[6];
    bool sound = value.len == 17;
    for (size_t i = 0; sound && i < 6; i++) {
        int high = hex_digit(value.at[3 * i]), low = hex_digit(value.at[3 * i + 1]);
        sound = high >= 0 && low >= 0 && (i == 5 || value.at[3 * i + 2] == ':');
        c->mac[i] = sound ? (uint8_t)(high << 4 | low) : 0;
    }
    if (!sound) {
        return FAIL(err, "--net %s: a mac is six bytes in hexadecimal, as in 52:33:00:00:00:01",
                    arg);
    }
    if ((c->mac[0] & 1) || memcmp(c->mac, none, 6) == 0) {
        return FAIL(err,
                    "--net %s: no card can have this mac: it is a group's, or zero; make its "
                    "first byte 52",
                    arg);
    }
    return 0;
}

static int parse_bps(const char *arg, struct word value, struct net_config *c,
                     struct net_error *err)
{
    unsigned shift = 0;
    switch (value.len ? value.at[value.len - 1] : '\0') {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    default: break;
    }
    value.len -= shift ? 1 : 0;
    if (!number(value, (1ull << 50) >> shift, &c->bps) || c->bps == 0) {
        return FAIL(err,
                    "--net %s: bps is a number of bytes a second, or has a suffix K, M or G, as "
                    "in bps=10M",
                    arg);
    }
    c->bps <<= shift;
    return 0;
}

static int parse_no_host_loopback(const char *arg, struct word value, struct net_config *c,
                                  struct net_error *err)
{
    (void)value;
    if (c->kind != NET_USER) {
        return FAIL(err, "--net %s: no-host-loopback is for user only; leave it away", arg);
    }
    c->no_host_loopback = true;
    return 0;
}

static int parse_option(const char *arg, struct word option, struct net_config *c, unsigned *seen,
                        struct net_error *err)
{
    static const struct {
        const char *name;
        bool valued; /* NAME=VALUE; else NAME */
        int (*parse)(const char *arg, struct word value, struct net_config *c,
                     struct net_error *err);
    } options[] = {{"mac", true, parse_mac},
                   {"bps", true, parse_bps},
                   {"no-host-loopback", false, parse_no_host_loopback}};
    struct word value = option, name = cut(&value, '=');
    bool valued = value.at > name.at + name.len;
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        if (!is(name, options[i].name)) {
            continue;
        }
        if (*seen & 1u << i) {
            return FAIL(err, "--net %s: %s%s is there twice", arg, options[i].name,
                        options[i].valued ? "=" : "");
        }
        if (valued && !options[i].valued) {
            return FAIL(err, "--net %s: %s has no value; leave =%.*s away", arg, options[i].name,
                        (int)value.len, value.at);
        }
        *seen |= 1u << i;
        return options[i].parse(arg, value, c, err);
    }
    return FAIL(err, "--net %s: no such option: %.*s; there are mac=, bps= and no-host-loopback",
                arg, (int)name.len, name.at);
}

int net_parse(const char *arg, struct net_config *c, struct net_error *err)
{
    struct word rest = {arg, strlen(arg)}, name = cut(&rest, ',');
    bool more = rest.at > arg + name.len; /* there was a comma */
    struct word kind = cut(&name, '=');
    bool named = name.at > kind.at + kind.len;
    *c = (struct net_config){0};
    if (is(kind, "user")) {
        c->kind = NET_USER;
        if (named) {
            return FAIL(err, "--net %s: user has no name; leave =%.*s away", arg, (int)name.len,
                        name.at);
        }
    } else if (is(kind, "tap") || is(kind, "switch")) {
        c->kind = is(kind, "tap") ? NET_TAP : NET_SWITCH;
        if (parse_name(arg, name, c, err)) {
            return -1;
        }
    } else {
        return FAIL(err, "--net %s: no such network; there are user, tap=NAME and switch=NAME",
                    arg);
    }
    unsigned seen = 0;
    while (more) {
        const char *end = rest.at + rest.len;
        struct word option = cut(&rest, ',');
        more = option.at + option.len < end;
        if (parse_option(arg, option, c, &seen, err)) {
            return -1;
        }
    }
    return 0;
}

/* ---- -p ---- */

/* "PORT" or "PORT-PORT". */
static int parse_ports(const char *arg, struct word w, uint16_t *first, uint16_t *count,
                       struct net_error *err)
{
    uint64_t from, to;
    struct word last = w, one = cut(&last, '-');
    bool range = last.at > one.at + one.len;
    if (!number(one, 65535, &from) || from == 0) {
        return FAIL(err, "-p %s: a port is a number from 1 to 65535, not '%.*s'", arg, (int)one.len,
                    one.at);
    }
    to = from;
    if (range && (!number(last, 65535, &to) || to < from)) {
        return FAIL(err,
                    "-p %s: a range of ports goes from the lower to the higher, up to 65535; "
                    "'%.*s' does not",
                    arg, (int)w.len, w.at);
    }
    *first = (uint16_t)from;
    *count = (uint16_t)(to - from + 1);
    return 0;
}

/* The "ADDR:" in front of the ports, if there is one; *rest is then what follows. */
static int parse_address(const char *arg, struct word *rest, struct net_forward *f,
                         struct net_error *err)
{
    struct word addr;
    struct in6_addr parsed; /* room for either */
    int family = AF_INET;
    if (rest->len && rest->at[0] == '[') {
        struct word after = {rest->at + 1, rest->len - 1};
        addr = cut(&after, ']');
        if (after.len == 0 || after.at[0] != ':') {
            return FAIL(err, "-p %s: an IPv6 address is written [ADDR]:HOST:GUEST", arg);
        }
        *rest = (struct word){after.at + 1, after.len - 1};
        family = AF_INET6;
    } else {
        struct word after = *rest;
        addr = cut(&after, ':');
        if (!memchr(after.at, ':', after.len)) {
            return 0; /* only the ports are there */
        }
        *rest = after;
    }
    bool fits = addr.len < sizeof(f->host_addr);
    memcpy(f->host_addr, addr.at, fits ? addr.len : 0);
    if (!fits || inet_pton(family, f->host_addr, &parsed) != 1) {
        return FAIL(err, "-p %s: the address is a number, as in 127.0.0.1 or [::1]", arg);
    }
    return 0;
}

int net_parse_forward(const char *arg, struct net_forward *f, struct net_error *err)
{
    *f = (struct net_forward){0};
    struct word protocol = {arg, strlen(arg)}, rest = cut(&protocol, '/');
    bool named = protocol.at > rest.at + rest.len;
    if (named && !is(protocol, "udp") && !is(protocol, "tcp")) {
        return FAIL(err, "-p %s: after the / comes udp or tcp", arg);
    }
    f->udp = named && is(protocol, "udp");
    if (!memchr(rest.at, ':', rest.len)) {
        return FAIL(err, "-p %s: it is [ADDR:]HOST:GUEST, two ports with a colon between", arg);
    }
    if (parse_address(arg, &rest, f, err)) {
        return -1;
    }
    uint16_t guest_count;
    struct word guest = rest, host = cut(&guest, ':');
    if (memchr(guest.at, ':', guest.len)) {
        return FAIL(err, "-p %s: too many colons; an IPv6 address goes in brackets", arg);
    }
    if (parse_ports(arg, host, &f->host_port, &f->count, err) ||
        parse_ports(arg, guest, &f->guest_port, &guest_count, err)) {
        return -1;
    }
    if (guest_count != f->count) {
        return FAIL(err,
                    "-p %s: %u ports of the host for %u of the guest; make both ranges as long",
                    arg, f->count, guest_count);
    }
    return 0;
}

static bool overlap(const struct net_forward *a, const struct net_forward *b)
{
    return a->udp == b->udp && a->host_port < b->host_port + b->count &&
           b->host_port < a->host_port + a->count &&
           (!a->host_addr[0] || !b->host_addr[0] || strcmp(a->host_addr, b->host_addr) == 0);
}

int net_add_forward(struct net_config *c, const struct net_forward *f, struct net_error *err)
{
    if (c->kind != NET_USER) {
        return FAIL(err, "-p: ports are forwarded by --net user only");
    }
    if (c->forwards == ARRAY_LEN(c->forward)) {
        return FAIL(err, "-p: more than %u; a range, as in 8000-8010:80-90, is one of them",
                    NET_FORWARDS_MAX);
    }
    for (unsigned i = 0; i < c->forwards; i++) {
        if (overlap(f, &c->forward[i])) {
            return FAIL(err, "-p: host port %u is forwarded twice",
                        f->host_port > c->forward[i].host_port ? f->host_port
                                                               : c->forward[i].host_port);
        }
    }
    c->forward[c->forwards++] = *f;
    return 0;
}
