/* Formatting without a C library, and the way out for our own bugs. See log.h.
 *
 * State: none. Any task; fmt_line and fmt_vline also in a signal handler.
 */
#include "base/log.h"

#include "base/string.h"
#include "host/host.h"

#define LINE_MAX 256

/** Where output goes: len counts what was stored, size is the room with the terminator. */
struct sink {
    char *buf;
    size_t size, len;
};

/** One conversion specification, after the '%'. */
struct spec {
    bool left, zero, alternate; /* flags - 0 # */
    int width;
    int precision;   /* -1: none */
    unsigned longs;  /* 0 int, 1 long, 2 long long, size_t as long */
    char conversion; /* '\0' at the end of the format */
};

static void put_char(struct sink *s, char c)
{
    if (s->len + 1 < s->size) {
        s->buf[s->len++] = c;
    }
}

static void put_repeated(struct sink *s, char c, int n)
{
    while (n-- > 0) {
        put_char(s, c);
    }
}

/* A field: padding around prefix (a sign, 0x) and body; zeros go between the two. */
static void put_field(struct sink *s, const struct spec *spec, const char *prefix,
                      const char *body, size_t len)
{
    size_t prefix_len = strlen(prefix);
    int pad = spec->width - (int)(prefix_len + len);
    if (!spec->left && !spec->zero) {
        put_repeated(s, ' ', pad);
    }
    for (size_t i = 0; i < prefix_len; i++) {
        put_char(s, prefix[i]);
    }
    if (!spec->left && spec->zero) {
        put_repeated(s, '0', pad);
    }
    for (size_t i = 0; i < len; i++) {
        put_char(s, body[i]);
    }
    if (spec->left) {
        put_repeated(s, ' ', pad);
    }
}

static void put_number(struct sink *s, const struct spec *spec, const char *prefix, uint64_t value,
                       unsigned base)
{
    const char *digits = spec->conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char body[20];
    size_t at = sizeof(body);
    do {
        body[--at] = digits[value % base];
        value /= base;
    } while (value != 0);
    put_field(s, spec, prefix, body + at, sizeof(body) - at);
}

static void put_hex(struct sink *s, const struct spec *spec, uint64_t value)
{
    bool prefixed = spec->alternate && value != 0;
    put_number(s, spec, !prefixed ? "" : spec->conversion == 'X' ? "0X" : "0x", value, 16);
}

static void put_string(struct sink *s, struct spec *spec, const char *str)
{
    if (str == NULL) {
        str = "(null)";
    }
    size_t len = 0;
    while ((spec->precision < 0 || len < (size_t)spec->precision) && str[len] != '\0') {
        len++;
    }
    spec->zero = false;
    put_field(s, spec, "", str, len);
}

/* Digits at *fmt as a number; anything larger than a line counts as a line. */
static int parse_number(const char **fmt)
{
    int n = 0;
    for (; **fmt >= '0' && **fmt <= '9'; (*fmt)++) {
        n = n < LINE_MAX ? n * 10 + (**fmt - '0') : n;
    }
    return n;
}

/* Flags, width, precision, length and conversion at fmt; returns what follows. va_list is passed by
 * address because a '*' consumes an argument. */
static const char *parse_spec(const char *fmt, struct spec *spec, va_list *ap)
{
    *spec = (struct spec){.precision = -1};
    for (; *fmt == '-' || *fmt == '0' || *fmt == '#'; fmt++) {
        spec->left |= *fmt == '-';
        spec->zero |= *fmt == '0';
        spec->alternate |= *fmt == '#';
    }
    spec->width = parse_number(&fmt);
    if (*fmt == '.') {
        fmt++;
        if (*fmt == '*') {
            fmt++;
            spec->precision = va_arg(*ap, int);
        } else {
            spec->precision = parse_number(&fmt);
        }
    }
    for (; *fmt == 'l' || *fmt == 'z'; fmt++) {
        spec->longs++;
    }
    spec->conversion = *fmt;
    return *fmt == '\0' ? fmt : fmt + 1;
}

static uint64_t unsigned_arg(const struct spec *spec, va_list *ap)
{
    if (spec->longs == 0) {
        return va_arg(*ap, unsigned);
    }
    return spec->longs == 1 ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned long long);
}

static void put_signed(struct sink *s, const struct spec *spec, va_list *ap)
{
    int64_t value = (int64_t)unsigned_arg(spec, ap);
    if (spec->longs == 0) {
        value = (int32_t)value;
    }
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_number(s, spec, value < 0 ? "-" : "", magnitude, 10);
}

static void put_conversion(struct sink *s, struct spec *spec, va_list *ap)
{
    char c;
    switch (spec->conversion) {
    case 'd':
    case 'i':
        put_signed(s, spec, ap);
        break;
    case 'u':
        put_number(s, spec, "", unsigned_arg(spec, ap), 10);
        break;
    case 'x':
    case 'X':
        put_hex(s, spec, unsigned_arg(spec, ap));
        break;
    case 'p':
        put_number(s, spec, "0x", (uintptr_t)va_arg(*ap, void *), 16);
        break;
    case 's':
        put_string(s, spec, va_arg(*ap, const char *));
        break;
    case 'c':
        c = (char)va_arg(*ap, int);
        spec->zero = false;
        put_field(s, spec, "", &c, 1);
        break;
    case '%':
        put_char(s, '%');
        break;
    default: /* not ours: show it, the arguments are lost */
        put_char(s, '%');
        if (spec->conversion != '\0') {
            put_char(s, spec->conversion);
        }
    }
}

int fmt_vline(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct sink s = {.buf = buf, .size = size};
    va_list args;
    va_copy(args, ap);
    while (*fmt != '\0') {
        if (*fmt != '%') {
            put_char(&s, *fmt++);
            continue;
        }
        struct spec spec;
        fmt = parse_spec(fmt + 1, &spec, &args);
        put_conversion(&s, &spec, &args);
    }
    va_end(args);
    if (size > 0) {
        buf[s.len] = '\0';
    }
    return (int)s.len;
}

int fmt_line(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = fmt_vline(buf, size, fmt, ap);
    va_end(ap);
    return len;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    char line[LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    fmt_vline(line, sizeof(line), fmt, ap);
    va_end(ap);
    host_log(level, line);
}

void bug(const char *file, int line, const char *cond)
{
    char text[LINE_MAX];
    fmt_line(text, sizeof(text), "bug: %s:%d: %s", file, line, cond);
    host_panic(text);
}
