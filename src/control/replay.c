/* Dropping terminal queries from old output: see replay.h. No state but struct replay. */
#include "control/replay.h"

#include "base/string.h"

#define ENQ 0x05
#define BEL 0x07
#define TAB 0x09
#define CAN 0x18
#define SUB 0x1a
#define ESC 0x1b
#define DEL 0x7f

#define RESIZE_MODE 2048u /* terminals tell their size when it is set */

/* ---- what is a query ---- */

/* A control sequence, taken apart. */
struct control {
    uint8_t mark;         /* '<', '=', '>', '?' before the parameters; or 0 */
    unsigned first;       /* parameter; 0 without one */
    bool resize;          /* one of the parameters is RESIZE_MODE */
    uint8_t intermediate; /* the last; or 0 */
    uint8_t final;
};

static struct control parse(const uint8_t *bytes, size_t len)
{
    struct control c = {.final = bytes[len - 1]};
    unsigned number = 0, numbers = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t b = bytes[i];
        if (b >= '0' && b <= '9') {
            number = number < 10000 ? number * 10 + (b - '0') : number;
            continue;
        }
        c.mark = b >= '<' && b <= '?' && !c.mark ? b : c.mark;
        c.intermediate = b < 0x30 ? b : c.intermediate;
        if (b == ';' || b == ':' || i == len - 1) {
            c.first = numbers++ ? c.first : number;
            c.resize |= number == RESIZE_MODE;
            number = 0;
        }
    }
    return c;
}

/* By the names that "Xterm Control Sequences" gives them. */
static bool is_query(const uint8_t *bytes, size_t len)
{
    struct control c = parse(bytes, len);
    switch (c.final) {
    case 'c': return true;                            /* DA 1 to 3 */
    case 'n': return true;                            /* DSR */
    case 'x': return !c.intermediate;                 /* DECREQTPARM */
    case 't': return c.first > 10 && c.first < 22;    /* XTWINOPS: reports */
    case 'p': return c.intermediate == '$';           /* DECRQM */
    case 'q': return c.mark == '>';                   /* XTVERSION */
    case 'u': return c.mark == '?' || c.intermediate; /* keyboard protocol, DECRQUPSS, DECRQTSR */
    case 'w': return c.intermediate;                  /* DECRQPSR, DECRQDE */
    case 'y': return c.intermediate == '*';           /* DECRQCRA */
    case 'S': return c.mark == '?' || c.intermediate == '#';          /* XTSMGRAPHICS, XTTITLEPOS */
    case 'R': return c.intermediate == '#';                           /* XTREPORTCOLORS */
    case '|': return c.intermediate == '#' || c.intermediate == '\''; /* XTREPORTSGR, DECRQLP */
    case 'm': return c.mark == '?';                                   /* XTQMODKEYS */
    case 'g': return c.mark == '?';                                   /* XTQFMTKEYS */
    case 'h': return c.mark == '?' && c.resize;
    default: return false;
    }
}

/* ---- states ---- */

static void hold(struct replay *r, uint8_t b)
{
    if (r->held_len < REPLAY_HELD) {
        r->held[r->held_len] = b;
    }
    r->held_len += r->held_len <= REPLAY_HELD; /* more than there is room for: too long */
}

static void begin(struct replay *r, unsigned state, uint8_t b)
{
    r->state = state;
    r->held_len = 0;
    hold(r, b);
}

/* The sequence ends here, and is shown or not. */
static size_t finish(struct replay *r, bool shown, uint8_t *to)
{
    size_t len = shown && r->held_len <= REPLAY_HELD ? r->held_len : 0;
    memcpy(to, r->held, len);
    r->state = REPLAY_TEXT;
    return len;
}

static size_t in_text(struct replay *r, uint8_t b, uint8_t *to)
{
    if (b == ESC || b == 0xc2) {
        begin(r, b == ESC ? REPLAY_ESCAPE : REPLAY_C1, b);
        return 0;
    }
    /* What was dropped in between must not make a C1 control of two bytes. */
    bool joined = r->last == 0xc2 && b >= 0x80 && b < 0xa0;
    *to = b;
    return b != ENQ && !joined;
}

/* What follows ESC, or is meant by the C1 control that is 0x40 more. */
static size_t introduced(struct replay *r, uint8_t b, uint8_t *to)
{
    switch (b) {
    case '[': r->state = REPLAY_CONTROL; return 0;
    case 'P': /* DCS */
    case 'X': /* SOS */
    case ']': /* OSC */
    case '^': /* PM */
    case '_': /* APC */ r->state = REPLAY_STRING; return 0;
    default: return finish(r, b != 'Z', to); /* DECID */
    }
}

static size_t in_c1(struct replay *r, uint8_t b, uint8_t *to)
{
    if (b >= 0x80 && b < 0xa0) {
        hold(r, b);
        return introduced(r, b - 0x40, to);
    }
    size_t len = finish(r, true, to);
    return len + in_text(r, b, to + len);
}

static size_t in_escape(struct replay *r, uint8_t b, uint8_t *to)
{
    if (b < 0x20 || b >= DEL) {
        r->state = REPLAY_TEXT; /* controls are obeyed within a sequence: not worth keeping it */
        return in_text(r, b, to);
    }
    hold(r, b);
    if (b < 0x30) {
        return 0;
    }
    bool coding = r->held[1] == '%'; /* DOCS: what 8-bit controls are would change */
    return r->held_len == 2 ? introduced(r, b, to) : finish(r, !coding, to);
}

static size_t in_control(struct replay *r, uint8_t b, uint8_t *to)
{
    const size_t introducer = 2; /* ESC [, or U+009B */
    if (b < 0x20 || b >= DEL) {
        if (b < 0x20 && b != ESC && b != CAN && b != SUB) {
            *to = b;
            return b != ENQ; /* obeyed, and the sequence goes on */
        }
        r->state = REPLAY_TEXT;
        return in_text(r, b, to);
    }
    hold(r, b);
    if (b < 0x40) {
        return 0;
    }
    bool shown =
        r->held_len <= REPLAY_HELD && !is_query(r->held + introducer, r->held_len - introducer);
    return finish(r, shown, to);
}

/* A string ends with ST, BEL, or what cannot be in one. */
static size_t in_string(struct replay *r, uint8_t b, uint8_t *to)
{
    if (b == ESC || b == 0xc2) {
        r->state = b == ESC ? REPLAY_STRING_ESCAPE : REPLAY_STRING_C1;
    } else if (b < 0x20 && b != TAB) {
        r->state = REPLAY_TEXT;
        return b == BEL || b == CAN || b == SUB ? 0 : in_text(r, b, to);
    }
    return 0;
}

static size_t in_string_escape(struct replay *r, uint8_t b, uint8_t *to)
{
    if (b == '\\') {
        r->state = REPLAY_TEXT;
        return 0;
    }
    begin(r, REPLAY_ESCAPE, ESC);
    return in_escape(r, b, to);
}

static size_t in_string_c1(struct replay *r, uint8_t b, uint8_t *to)
{
    r->state = REPLAY_STRING;
    if (b < 0x80 || b >= 0xa0) {
        return in_string(r, b, to);
    }
    if (b == 0x9c) { /* ST */
        r->state = REPLAY_TEXT;
        return 0;
    }
    begin(r, REPLAY_C1, 0xc2);
    return in_c1(r, b, to);
}

static size_t step(struct replay *r, uint8_t b, uint8_t *to)
{
    switch (r->state) {
    case REPLAY_TEXT: return in_text(r, b, to);
    case REPLAY_C1: return in_c1(r, b, to);
    case REPLAY_ESCAPE: return in_escape(r, b, to);
    case REPLAY_CONTROL: return in_control(r, b, to);
    case REPLAY_STRING: return in_string(r, b, to);
    case REPLAY_STRING_ESCAPE: return in_string_escape(r, b, to);
    case REPLAY_STRING_C1: return in_string_c1(r, b, to);
    }
    return 0;
}

size_t replay_filter(struct replay *r, const void *bytes, size_t len, uint8_t *to)
{
    const uint8_t *from = bytes;
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        out += step(r, from[i], to + out);
        r->last = out ? to[out - 1] : r->last;
    }
    return out;
}

size_t replay_rest(const struct replay *r, uint8_t *to)
{
    bool sequence = r->state >= REPLAY_C1 && r->state <= REPLAY_CONTROL;
    size_t len = sequence && r->held_len <= REPLAY_HELD ? r->held_len : 0;
    memcpy(to, r->held, len);
    return len;
}
