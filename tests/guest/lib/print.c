/* Reporting, and the few functions of memory that the compiler wants. */
#include "lib/guest.h"

#define STATUS_MAX 70 /* above are statuses with a meaning of their own: 77, 123 ... */

static struct {
    unsigned number, first_failed;
    const char *what;
} current;

void print(const char *text)
{
    while (*text)
        outb(0xe9, (uint8_t)*text++);
}

void print_hex(uint64_t value)
{
    int shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    print("0x");
    for (; shift >= 0; shift -= 4)
        outb(0xe9, (uint8_t) "0123456789abcdef"[(value >> shift) & 15]);
}

void print_dec(uint64_t value)
{
    if (value >= 10)
        print_dec(value / 10);
    outb(0xe9, (uint8_t)('0' + value % 10));
}

void case_begin(const char *what)
{
    current.number++;
    current.what = what;
}

void check_failed(const char *file, int line, const char *what, uint64_t got, uint64_t want)
{
    if (!current.first_failed)
        current.first_failed = current.number ? current.number : 1;
    print("FAIL case ");
    print_dec(current.number);
    print(current.what ? " (" : " (start");
    print(current.what ? current.what : "");
    print("): ");
    print(file);
    print(":");
    print_dec((uint64_t)line);
    print(": ");
    print(what);
    if (got != want) {
        print(" is ");
        print_hex(got);
        print(", not ");
        print_hex(want);
    }
    print("\n");
}

void guest_exit(unsigned status)
{
    for (;;)
        outl(0xf4, status);
}

void guest_finish(void)
{
    if (!current.first_failed) {
        print("ok: ");
        print_dec(current.number);
        print(" cases\n");
    }
    guest_exit(current.first_failed < STATUS_MAX ? current.first_failed : STATUS_MAX);
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *ret = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return ret;
}

void *memset(void *to, int byte, size_t n)
{
    void *ret = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
    return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n; n--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}
