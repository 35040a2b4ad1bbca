/* CMOS RAM and clock at ports 0x70/0x71 (Motorola MC146818A, as on a PC).
 *
 * The time registers show the host's wall clock plus an offset the guest may set. An update never
 * is in progress (status A bit 7 reads 0), and there are no RTC interrupts: FADT says the guest
 * need not look for them.
 * Threads: vCPU tasks; the guest serialises its own accesses, as it must on a PC (index and data
 * are two accesses).
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include "base/types.h"
#include "vm/bus.h"

#define RTC_PORT 0x70u
#define RTC_PORTS 2u
#define RTC_CENTURY 0x32u /* CMOS register of the century, BCD; for the FADT */

struct rtc {
    uint8_t index;      /* 0..127 */
    uint8_t ram[128];   /* the time registers in here are valid only while status B has SET */
    int64_t offset_s;   /* guest's clock minus the host's, seconds */
};

void rtc_init(struct rtc *r);
extern const struct bus_ops rtc_bus_ops;

#endif
