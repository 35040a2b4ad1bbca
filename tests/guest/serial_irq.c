/* The serial port through the I/O APIC: edge and level interrupts, masking, EOI; its loopback mode.
 * 82093AA and PC16550D data sheets. The interrupt used is "transmitter empty": bytes sent here
 * appear on the console. In loopback a PC's port interrupts nobody: OUT2 is off. */
#include "lib/apic.h"
#include "lib/paging.h"

#define COM1 0x3f8
#define IOAPIC SPARE_HIGH
#define REDIR (0x10 + 2 * 4)

static volatile unsigned count;

static void on_serial(struct regs *r)
{
    (void)r;
    count++;
    CHECK_EQ(inb(COM1 + 2) & 0xf, 2); /* transmitter empty; reading says so, and ends it */
    apic_eoi();
}

/* Leaves the line up the first time. */
static void on_serial_first(struct regs *r)
{
    on_vector(0x44, on_serial);
    (void)r;
    count++;
    apic_eoi();
}

static void redirect(uint32_t low)
{
    *(volatile uint32_t *)IOAPIC = REDIR + 1;
    *(volatile uint32_t *)(IOAPIC + 16) = 0;
    *(volatile uint32_t *)IOAPIC = REDIR;
    *(volatile uint32_t *)(IOAPIC + 16) = low;
}

void guest_main(void)
{
    apic_enable();
    map(IOAPIC, 0xfec00000, PTE_KERNEL | PTE_PCD);
    on_vector(0x44, on_serial);
    outb(COM1 + 1, 0);
    outb(COM1 + 2, 7);    /* FIFO on and cleared */
    outb(COM1 + 4, 0x1b); /* loopback, OUT2, RTS, DTR */
    CASE("loopback: what is sent is received");
    outb(COM1, 0x5a);
    CHECK_EQ(inb(COM1 + 5) & 1, 1);
    CHECK_EQ(inb(COM1), 0x5a);
    CHECK_EQ(inb(COM1 + 5) & 1, 0);
    outb(COM1 + 4, 0x0b);
    inb(COM1 + 2);
    CASE("edge: one interrupt when enabled, one for each byte sent");
    redirect(0x44);
    sti();
    outb(COM1 + 1, 2);
    asm volatile("nop");
    CHECK_EQ(count, 1);
    outb(COM1, '1');
    asm volatile("nop");
    CHECK_EQ(count, 2);
    cli();
    CASE("held back by IF, then taken");
    outb(COM1, '2');
    CHECK_EQ(count, 2);
    CHECK(apic_bit(X2APIC_IRR, 0x44));
    sti_nop();
    CHECK_EQ(count, 3);
    cli();
    CASE("masked in the I/O APIC: an edge is lost");
    redirect(0x10044);
    outb(COM1, '3');
    sti_nop();
    CHECK_EQ(count, 3);
    inb(COM1 + 2);
    redirect(0x44);
    asm volatile("nop");
    CHECK_EQ(count, 3);
    cli();
    CASE("level: sent when unmasked while the line is up");
    redirect(0x18044);
    outb(COM1, '4');
    redirect(0x8044);
    sti_nop();
    asm volatile("nop");
    CHECK_EQ(count, 4);
    cli();
    CASE("level: again after EOI while the line stays up");
    on_vector(0x44, on_serial_first);
    outb(COM1, '5');
    sti_nop();
    asm volatile("nop; nop");
    CHECK_EQ(count, 6);
    cli();
    CASE("hlt until the interrupt");
    on_vector(0x44, on_serial);
    outb(COM1, '\n');
    asm volatile("sti; hlt; cli" : : : "memory");
    CHECK_EQ(count, 7);
    outb(COM1 + 1, 0);
}
