/* Whether a machine really runs here: one is started, and what became of it decides.
 *
 *   ring3 doctor          reads the pipe that is the machine's standard error
 *    └─ launcher          from here on all as in `ring3 run`: namespaces, jails, vCPU task, spaces
 *        └─ monitor ...
 *
 * The machine has no name, no directory and no control group. It leads a process group of its own,
 * so that keys of the terminal reach only the doctor; each of its processes dies with the one
 * above, so that nothing is left of it when the doctor is ended, whatever way.
 *
 * The guest is a few instructions in an ELF file that exists in memory only. In kernel mode it sets
 * up user mode, with callouts for what is privileged; in user mode it makes one system call with a
 * number; back in kernel mode it ends the machine with that number as the exit status. No failure
 * gives that status.
 * SDM 3 "SYSCALL and SYSRET" §5.8.8.
 */
#include "cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/run.h"
#include "host/linux/host_error.h"
#include "host/linux/launch.h"

#define GUEST_ANSWER 93 /* none of the CLI_* */
#define LIMIT_MS 6000u  /* more than a single step of the machine's start may take */
#define GRACE_MS 1000u
#define SLICE_MS 50u
#define MESSAGE_PREFIX "ring3 run: "
#define BROKEN_PREFIX "failed: " /* what MONITOR_BROKEN is said with: run_report.c */
#define DOCTOR_SUFFIX "; 'ring3 doctor' says more"

/* ---- the guest ---- */

/* An ELF file with one segment: all of it, at guest_addr. The guest is entered in 64-bit mode with
 * interrupts off and the low 4 GB mapped as they are (boot/layout.h). User mode may use the 2 MB at
 * guest_addr once bit 2 is set in the three entries on the way there. Then EFER.SCE; STAR, so that
 * the kernel's code is 0x10 and the user's 0x33; LSTAR; no data segments, no stack. */
extern const uint8_t doctor_guest[] __attribute__((visibility("hidden")));
extern const uint8_t doctor_guest_end[] __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata\n"
        ".hidden doctor_guest\n.globl doctor_guest\n"
        ".hidden doctor_guest_end\n.globl doctor_guest_end\n"
        ".set guest_addr, 0x400000\n" /* where ordinary programs begin */
        ".set guest_size, doctor_guest_end - doctor_guest\n"
        "doctor_guest:\n"
        ".ascii \"\\177ELF\"\n.byte 2, 1, 1, 0\n.quad 0\n" /* e_ident */
        ".short 2, 62\n.long 1\n"                          /* executable, x86-64 */
        ".quad guest_addr + 120, 64, 0\n"                  /* entry, program header, sections */
        ".long 0\n.short 64, 56, 1, 0, 0, 0\n"             /* flags, sizes and counts */
        ".long 1, 7\n.quad 0\n"                            /* PT_LOAD, RWX, from offset 0 */
        ".quad guest_addr, guest_addr, guest_size, guest_size, 0x1000\n"
        "mov %cr3, %rax\n"
        "orb $4, (%rax)\n"
        "mov (%rax), %rbx\nand $-4096, %rbx\n"
        "orb $4, (%rbx)\n"
        "mov (%rbx), %rbx\nand $-4096, %rbx\n"
        "orb $4, (guest_addr >> 21) * 8(%rbx)\n"
        "mov %rax, %cr3\n"
        "mov $0xc0000080, %ecx\nrdmsr\nor $1, %eax\nwrmsr\n"
        "inc %ecx\nxor %eax, %eax\nmov $0x230010, %edx\nwrmsr\n"
        "inc %ecx\nlea 2f(%rip), %rax\nxor %edx, %edx\nwrmsr\n"
        "mov %edx, %ds\nmov %edx, %es\nmov %edx, %fs\nmov %edx, %gs\n"
        "lea 1f(%rip), %rcx\nmov $2, %r11d\nsysretq\n"
        "1: mov $93, %eax\nsyscall\n" /* GUEST_ANSWER */
        "2: out %eax, $0xf4\n"        /* DEBUGPORT_EXIT */
        "3: hlt\njmp 3b\n"
        "doctor_guest_end:\n"
        ".popsection\n");

/* The guest as a file. Its descriptor, or -errno. */
static int guest_file(void)
{
    const size_t len = (size_t)(doctor_guest_end - doctor_guest);
    int fd = memfd_create("ring3-doctor", MFD_CLOEXEC), err;
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = write(fd, doctor_guest, len);
    if (n != (ssize_t)len) {
        err = n < 0 ? -errno : -EFBIG;
        close(fd);
        return err;
    }
    return fd;
}

/* ---- in the child ---- */

/* No terminal, no output but messages; nothing of a crash is kept. */
static void shut_in(int messages)
{
    const struct rlimit no_core = {0, 0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    dup2(messages, STDERR_FILENO);
    dup2(null < 0 ? messages : null, STDIN_FILENO);
    dup2(null < 0 ? messages : null, STDOUT_FILENO);
    close(messages);
    if (null >= 0)
        close(null);
    setrlimit(RLIMIT_CORE, &no_core);
}

/* `ring3 run --no-reboot --engine ENGINE -k KERNEL`, without a name. */
NORETURN static void be_launcher(const struct engine *engine, char *kernel)
{
    char name[16];
    char *argv[] = {"run", "--no-reboot", "--engine", name, "-k", kernel, NULL};
    struct run_options o;
    struct run_plan plan;
    struct run r = {.o = &o, .plan = &plan, .engine = engine, .messages_fd = -1, .ready_fd = -1};
    int ending = 0, status;

    snprintf(name, sizeof(name), "%s", engine->name);
    status = run_parse((int)ARRAY_LEN(argv) - 1, argv, &o);
    if (!status)
        status = run_make_plan(&o, &plan);
    if (status)
        _exit(status);
    o.nameless = true;
    plan.trace_fd = -1;
    launch_hold(&r.mask);
    status = run_vm(&r, &ending);
    sigprocmask(SIG_SETMASK, &r.mask, NULL);
    _exit(ending ? run_die_of(ending) : status);
}

/* ---- the doctor ---- */

struct trial {
    pid_t launcher;
    int messages; /* all processes of the machine but its spaces hold the other end */
    char text[4096];
    size_t len;
};

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* Start the machine with that file as its kernel. 0 or -errno. */
static int trial_start(struct trial *t, const struct engine *engine, char *kernel)
{
    pid_t doctor = getpid();
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    t->launcher = fork();
    if (t->launcher == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != doctor)
            _exit(0);
        setpgid(0, 0);
        close(ends[0]);
        shut_in(ends[1]);
        be_launcher(engine, kernel);
    }
    close(ends[1]);
    if (t->launcher < 0) {
        int err = -errno;

        close(ends[0]);
        return err;
    }
    t->messages = ends[0];
    return 0;
}

/* Keep what the machine says until its processes have ended, or for at most `limit` ms, in which
 * time that this process was stopped is not counted. Whether they have ended. */
static bool trial_read(struct trial *t, unsigned limit)
{
    char rest[256];

    for (uint64_t waited = 0; waited < limit;) {
        struct pollfd fd = {.fd = t->messages, .events = POLLIN};
        uint64_t before = now_ms();
        int ready = poll(&fd, 1, SLICE_MS);

        if (ready < 0 && errno != EINTR)
            return false;
        if (ready > 0) {
            bool room = t->len < sizeof(t->text) - 1;
            ssize_t n = room ? read(fd.fd, t->text + t->len, sizeof(t->text) - 1 - t->len)
                             : read(fd.fd, rest, sizeof(rest));

            if (n == 0)
                return true;
            if (n > 0 && room)
                t->len += (size_t)n;
        }
        waited += min_u64(now_ms() - before, SLICE_MS);
    }
    return false;
}

/* To its end, however. Returns the wait status; *in_time: it came by itself. */
static int trial_end(struct trial *t, bool *in_time)
{
    int status = 0;

    *in_time = trial_read(t, LIMIT_MS);
    if (!*in_time) {
        kill(t->launcher, SIGTERM);
        if (!trial_read(t, GRACE_MS)) {
            kill(t->launcher, SIGKILL); /* all the others go with it */
            (void)trial_read(t, GRACE_MS);
        }
    }
    close(t->messages);
    while (waitpid(t->launcher, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* What `ring3 run` said went wrong, without what names the verb and sends people here. NULL: it
 * said nothing. */
static const char *trial_message(struct trial *t)
{
    const size_t prefix = strlen(MESSAGE_PREFIX), broken = strlen(BROKEN_PREFIX);
    const size_t suffix = strlen(DOCTOR_SUFFIX);
    const char *found = NULL;
    char *next = t->text;

    t->text[t->len] = '\0';
    for (char *line; (line = strsep(&next, "\n"));) {
        size_t len = strlen(line);

        if (strncmp(line, MESSAGE_PREFIX, prefix) != 0)
            continue;
        if (len >= suffix && strcmp(line + len - suffix, DOCTOR_SUFFIX) == 0)
            line[len - suffix] = '\0';
        found = line + prefix;
        found += strncmp(found, BROKEN_PREFIX, broken) == 0 ? broken : 0;
    }
    return found;
}

static void judge(struct trial *t, int status, bool in_time, struct engine_report *e)
{
    const char *said = trial_message(t);

    e->machine = MACHINE_FAILED;
    if (!in_time)
        snprintf(e->why, sizeof(e->why), "a machine that was tried did not end within %u s",
                 LIMIT_MS / 1000);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == GUEST_ANSWER)
        e->machine = MACHINE_RAN;
    else if (said)
        snprintf(e->why, sizeof(e->why), "%s", said);
    else if (WIFSIGNALED(status))
        snprintf(e->why, sizeof(e->why), "a machine that was tried was ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(e->why, sizeof(e->why),
                 "a machine that was tried ended with exit status %d instead of %d",
                 WEXITSTATUS(status), GUEST_ANSWER);
    e->usable = e->machine == MACHINE_RAN;
}

/* The host refused what every machine needs, too: say it as `ring3 run` would. */
static void refused(struct engine_report *e, const char *what, int err)
{
    e->machine = MACHINE_FAILED;
    e->usable = false;
    snprintf(e->why, sizeof(e->why), "%s: %s", what, host_error(err));
}

void doctor_try_machine(const struct engine *engine, struct engine_report *e)
{
    struct trial t = {0};
    char path[40];
    uint64_t start = now_ms();
    int fd, err;

    signal(SIGXFSZ, SIG_IGN); /* as the monitor does: where ulimit -f is too small, calls fail */
    fd = guest_file();
    if (fd < 0) {
        refused(e, "the host gives no memory for the machine", -fd);
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (access(path, R_OK) < 0) {
        snprintf(e->untried, sizeof(e->untried), "/proc/self/fd: %s", strerror(errno));
        close(fd);
        return;
    }
    err = trial_start(&t, engine, path);
    if (err) {
        refused(e, "the host gives no process", -err);
    } else {
        bool in_time;
        int status = trial_end(&t, &in_time);

        judge(&t, status, in_time, e);
        e->machine_ms = (unsigned)(now_ms() - start);
    }
    close(fd);
}
