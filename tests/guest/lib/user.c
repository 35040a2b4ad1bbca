/* See user.h. */
#include "lib/user.h"
#include "lib/paging.h"

struct regs user;
uint64_t user_cr2;

extern char user_text_end[], user_end[];
extern const uint64_t image_end;
void user_enter(struct regs *);
void user_enter_sysret(struct regs *);

static uint64_t stack_pa, page_pa;

void user_map(uint64_t root_pa)
{
    uint64_t size = (uint64_t)user_end - USER_BASE, first = image_end - size;
    for (uint64_t off = 0; off < size; off += KB4) {
        bool text = USER_BASE + off < (uint64_t)user_text_end;
        *pte_in(root_pa, USER_BASE + off, 1) = (first + off) | PTE_P | PTE_U | (text ? 0 : PTE_W);
    }
    for (unsigned i = 0; i < USER_STACK_PAGES; i++)
        *pte_in(root_pa, USER_STACK - (i + 1) * KB4, 1) = (stack_pa + i * KB4) | PTE_USER;
    *pte_in(root_pa, USER_PAGE, 1) = page_pa | PTE_USER;
}

void user_start(void)
{
    stack_pa = pages_alloc(USER_STACK_PAGES, KB4);
    page_pa = page_alloc();
    user_map(root());
}

void user_prepare(const void *rip)
{
    memset(&user, 0, sizeof(user));
    user.rip = (uint64_t)rip;
    user.cs = USER_CS;
    user.ss = USER_DS;
    user.rsp = USER_STACK - 8;
    user.rflags = USER_FLAGS_START;
}

void user_resume(void)
{
    struct regs copy = user;
    user_enter(&copy);
}

void user_resume_sysret(void)
{
    struct regs copy = user;
    copy.rcx = user.rip;
    copy.r11 = user.rflags;
    user_enter_sysret(&copy);
}

void user_run(const void *rip)
{
    user_prepare(rip);
    user_resume();
}

void user_call(const void *rip, uint64_t rdi, uint64_t rsi, uint64_t rdx)
{
    user_prepare(rip);
    user.rdi = rdi;
    user.rsi = rsi;
    user.rdx = rdx;
    user_resume();
}

void expect_user(const char *file, int line, unsigned vector, uint64_t error, uint64_t rip,
                 bool fault)
{
    expect_event(file, line, vector, error, rip, fault);
    if ((trap.cs & 3) != 3)
        check_failed(file, line, "pushed CS", trap.cs, USER_CS);
}

void expect_user_pf(const char *file, int line, uint64_t error, uint64_t cr2, uint64_t rip)
{
    expect_pf(file, line, error, cr2, rip);
    if ((trap.cs & 3) != 3)
        check_failed(file, line, "pushed CS", trap.cs, USER_CS);
}
