/* User mode in a test guest. User code is a few lines of assembly, or C that only uses user memory:
 *
 *   USER_CODE(divide, "xor %ecx, %ecx; div %ecx");
 *   user_run(divide);
 *   EXPECT_USER_FAULT(VEC_DE, 0, divide + 2);
 *
 * user_run returns at the first event that has no handler (trap.h): any exception, SYSCALL (vector
 * VEC_SYSCALL), INT n. `user` then is the user's state as saved, and `trap` a copy of it;
 * user_resume goes on with whatever `user` says.
 */
#ifndef GUEST_USER_H
#define GUEST_USER_H

#include "lib/trap.h"

#define USER_BASE 0x10000000ull  /* user code and .user.data, from the image */
#define USER_STACK 0x10800000ull /* USER_STACK_PAGES pages below this */
#define USER_STACK_PAGES 4u
#define USER_PAGE 0x10900000ull /* one page of free user memory, W, executable */
#define USER_FLAGS_START (RFLAGS_FIXED | RFLAGS_IF)

extern struct regs user;
extern uint64_t user_cr2;

#define USER_CODE(name, text)                                                                      \
    extern const char name[], name##_end[];                                                        \
    asm(".pushsection .user.text, \"ax\"\n" #name ":\n\t" text "\n" #name "_end:\n\t.popsection")
#define USER_TEXT __attribute__((section(".user.text"), noinline))
#define USER_DATA __attribute__((section(".user.data")))

void user_start(void);
/** Map user code, stack and USER_PAGE (shared by all roots) under this root. */
void user_map(uint64_t root);

/** Start user code at rip with zeroed registers, IF set; until an event. user_run_sysret: entered
 * by SYSRET. */
void user_run(const void *rip);
/** The same with up to three arguments, for C: rdi, rsi, rdx. */
void user_call(const void *rip, uint64_t rdi, uint64_t rsi, uint64_t rdx);
void user_prepare(const void *rip);
/** Go on with `user`. */
void user_resume(void);
void user_resume_sysret(void);

void expect_user(const char *file, int line, unsigned vector, uint64_t error, uint64_t rip,
                 bool fault);
void expect_user_pf(const char *file, int line, uint64_t error, uint64_t cr2, uint64_t rip);
#define EXPECT_USER_FAULT(vector, error, rip)                                                      \
    expect_user(__FILE__, __LINE__, vector, error, (uint64_t)(rip), true)
#define EXPECT_USER_TRAP(vector, rip)                                                              \
    expect_user(__FILE__, __LINE__, vector, 0, (uint64_t)(rip), false)
#define EXPECT_USER_PF(error, cr2, rip)                                                            \
    expect_user_pf(__FILE__, __LINE__, error, cr2, (uint64_t)(rip))
#define EXPECT_SYSCALL(rip) expect_user(__FILE__, __LINE__, VEC_SYSCALL, 0, (uint64_t)(rip), false)

#endif
