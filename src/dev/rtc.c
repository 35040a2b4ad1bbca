/* CMOS RAM and clock. See rtc.h for state and threads; MC146818A data sheet for the registers.
 *
 * While status B has SET the time registers are plain RAM, the guest composing a new time in them;
 * clearing SET turns them into an offset from the host's clock. A write to a single one without SET
 * does both at once.
 */
#include "dev/rtc.h"

#include "base/string.h"
#include "host/host.h"

enum {
    REG_SECONDS = 0,
    REG_MINUTES = 2,
    REG_HOURS = 4,
    REG_WEEKDAY = 6,
    REG_DAY = 7,
    REG_MONTH = 8,
    REG_YEAR = 9,
    REG_A = 0xa,
    REG_B = 0xb,
    REG_C = 0xc,
    REG_D = 0xd,
};

#define A_UIP 0x80u
#define A_RESET 0x26u /* 32,768 Hz crystal, 1,024 Hz rate */
#define B_24H 0x02u
#define B_BINARY 0x04u
#define B_SET 0x80u
#define D_VALID 0x80u
#define HOUR_PM 0x80u

#define DAY_S 86400

struct civil {
    int64_t year;
    unsigned month, day, hour, minute, second, weekday; /* month 1.., weekday 0 = Sunday */
};

/* ---- calendar ---- */

static bool leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(int64_t year, unsigned month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && leap(year) ? 29 : days[month - 1];
}

/* Days from 1 January of year 1 to 1 January of `year` (>= 1). */
static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400;
}

static struct civil civil_from_epoch(int64_t epoch)
{
    int64_t day = epoch / DAY_S + days_before_year(1970);
    unsigned second = (unsigned)(epoch % DAY_S);
    struct civil c = {.year = day / 366 + 1, .month = 1};
    while (days_before_year(c.year + 1) <= day) {
        c.year++;
    }
    c.weekday = (unsigned)((day + 1) % 7); /* day 0 was a Monday */
    unsigned left = (unsigned)(day - days_before_year(c.year));
    while (left >= days_in_month(c.year, c.month)) {
        left -= days_in_month(c.year, c.month);
        c.month++;
    }
    c.day = left + 1;
    c.hour = second / 3600;
    c.minute = second / 60 % 60;
    c.second = second % 60;
    return c;
}

/* Fields out of range (the guest writes what it likes) are taken as the nearest ones in range. */
static int64_t epoch_from_civil(const struct civil *c)
{
    unsigned month = c->month < 1 ? 1 : c->month > 12 ? 12 : c->month;
    int64_t days = days_before_year(c->year) - days_before_year(1970);
    for (unsigned m = 1; m < month; m++) {
        days += days_in_month(c->year, m);
    }
    unsigned last = days_in_month(c->year, month);
    days += c->day < 1 ? 0 : c->day > last ? last - 1 : c->day - 1;
    return days * DAY_S + c->hour % 24 * 3600 + c->minute % 60 * 60 + c->second % 60;
}

/* ---- registers ---- */

static uint8_t encode(const struct rtc *r, unsigned value)
{
    return (uint8_t)(r->ram[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *r, uint8_t value)
{
    return r->ram[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 0xf);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
    if (r->ram[REG_B] & B_24H) {
        return encode(r, hour);
    }
    unsigned twelve = hour % 12 == 0 ? 12 : hour % 12;
    return encode(r, twelve) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t value)
{
    if (r->ram[REG_B] & B_24H) {
        return decode(r, value);
    }
    return decode(r, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* The guest's clock in seconds since 1970, kept where the calendar code works. */
static int64_t guest_epoch(const struct rtc *r)
{
    int64_t epoch = (int64_t)(host_wall_ns() / 1000000000u) + r->offset_s;
    return epoch < 0 ? 0 : epoch;
}

/* Clock to registers. */
static void load_time(struct rtc *r)
{
    struct civil c = civil_from_epoch(guest_epoch(r));
    r->ram[REG_SECONDS] = encode(r, c.second);
    r->ram[REG_MINUTES] = encode(r, c.minute);
    r->ram[REG_HOURS] = encode_hour(r, c.hour);
    r->ram[REG_WEEKDAY] = encode(r, c.weekday + 1);
    r->ram[REG_DAY] = encode(r, c.day);
    r->ram[REG_MONTH] = encode(r, c.month);
    r->ram[REG_YEAR] = encode(r, (unsigned)(c.year % 100));
    r->ram[RTC_CENTURY] = encode(r, (unsigned)(c.year / 100 % 100));
}

/* Registers to clock. */
static void store_time(struct rtc *r)
{
    struct civil c = {
        .year = (int64_t)decode(r, r->ram[RTC_CENTURY]) * 100 + decode(r, r->ram[REG_YEAR]),
        .month = decode(r, r->ram[REG_MONTH]),
        .day = decode(r, r->ram[REG_DAY]),
        .hour = decode_hour(r, r->ram[REG_HOURS]),
        .minute = decode(r, r->ram[REG_MINUTES]),
        .second = decode(r, r->ram[REG_SECONDS]),
    };
    if (c.year < 1970) {
        c.year = 1970;
    }
    r->offset_s = epoch_from_civil(&c) - (int64_t)(host_wall_ns() / 1000000000u);
}

static bool is_time(unsigned reg)
{
    return reg == RTC_CENTURY || (reg <= REG_YEAR && reg != 1 && reg != 3 && reg != 5);
}

static void write_data(struct rtc *r, uint8_t value)
{
    unsigned reg = r->index & 127;
    bool set = r->ram[REG_B] & B_SET;
    if (reg == REG_C || reg == REG_D) {
        return;
    }
    if (reg == REG_A) {
        value &= ~A_UIP;
    }
    if (!set && (is_time(reg) || reg == REG_B)) {
        load_time(r); /* in the old format: status B has not changed yet */
    }
    if (set && reg == REG_B && !(value & B_SET)) {
        uint8_t format = value & (B_24H | B_BINARY);
        r->ram[REG_B] = B_SET | format;
        store_time(r);
    }
    r->ram[reg] = value;
    if (!set && is_time(reg)) {
        store_time(r);
    } else if (!set && reg == REG_B) {
        load_time(r); /* the new format */
    }
}

static uint8_t read_data(struct rtc *r)
{
    unsigned reg = r->index & 127;
    if (reg == REG_D) {
        return D_VALID;
    }
    if (is_time(reg) && !(r->ram[REG_B] & B_SET)) {
        load_time(r);
    }
    return r->ram[reg];
}

/* The index register cannot be read back on a PC. */
static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
    (void)size;
    return off == 0 ? 0xff : read_data(dev);
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
    struct rtc *r = dev;
    (void)size;
    if (off == 0) {
        r->index = value & 0x7f; /* bit 7 gates NMI on a PC: there is none to gate */
    } else {
        write_data(r, (uint8_t)value);
    }
}

const struct bus_ops rtc_bus_ops = {.read = port_read, .write = port_write, .access_max = 1};

void rtc_init(struct rtc *r)
{
    memset(r, 0, sizeof(*r));
    r->ram[REG_A] = A_RESET;
    r->ram[REG_B] = B_24H;
}
