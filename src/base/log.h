/* Messages and impossible conditions.
 *
 * The core never prints by itself: it formats a line and hands it to host_log (host.h), which
 * decides where it goes. BUG_ON is for our own bugs only and is on in release builds; no guest
 * input may reach one (STYLE: four kinds of failure).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

#include <stdarg.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/** Format one line (no newline) and give it to host_log. Supports %d %u %x %lx %lu %llx %llu %s
 *  %c %p with width and zero padding, as snprintf does. Lines are cut at 255 bytes. */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** Freestanding snprintf with the conversions named above. Returns the length written, always
 *  terminates when size > 0. */
int fmt_line(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** The same with the arguments in a va_list. Also %i, %X, %ld, %lld, %zu, %%, the
 *  flags '-' and '#', and a precision for %s. */
int fmt_vline(char *buf, size_t size, const char *fmt, va_list ap);

/** Reports the failed condition and ends this host task (never returns). */
NORETURN void bug(const char *file, int line, const char *cond);

#define BUG_ON(cond)                                                                              \
    do {                                                                                          \
        if (__builtin_expect(!!(cond), 0))                                                        \
            bug(__FILE__, __LINE__, #cond);                                                       \
    } while (0)

#endif
