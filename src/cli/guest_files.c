/* The default guest's files, and what ring3 adds to them for one run. */
#include "cli/cli.h"
#include "cli/run.h"
#include "host/host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_NAME "vmlinuz"
#define INITRD_NAME "default-guest.cpio"

/* What pays, and why (FACTS §0, §5): no crypto self-tests, no time stamp read per system call, no
 * rewriting of lock prefixes one by one, no mitigations for what the engine already keeps apart.
 * And rebooting by the ACPI register: on a hardware-reduced machine Linux would ask EFI, which is
 * not there, and then try 16-bit code. */
static const char default_cmdline[] = "console=ttyS0 cryptomgr.notests randomize_kstack_offset=off "
                                      "noreplace-smp mitigations=off reboot=a";

/* ---- where the files are ---- */

/* dir/a/b to out, if that is a file. */
static bool try_path(char *out, size_t size, const char *dir, const char *a, const char *b)
{
    struct stat st;
    int len = snprintf(out, size, "%s/%s%s", dir, a, b);
    return len > 0 && (size_t)len < size && stat(out, &st) == 0;
}

/* A default guest's file: in $RING3_GUEST, installed beside the program, or in the build tree. */
static bool find_file(char *out, size_t size, const char *name, const char *build_folder)
{
    char dir[2048];
    const char *given = getenv("RING3_GUEST");
    if (given) {
        return try_path(out, size, given, "", name);
    }
    ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
    if (len <= 0) {
        return false;
    }
    dir[len] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash) {
        *slash = '\0';
    }
    return try_path(out, size, dir, "../share/ring3/", name) ||
           try_path(out, size, dir, build_folder, name) ||
           (strcat(dir, "/.."), try_path(out, size, dir, build_folder, name));
}

static int no_file(const char *what)
{
    fprintf(stderr,
            "ring3 run: the default guest's %s is not there; in the source tree 'make guest' gets "
            "it, or "
            "name your own with -k and -i\n",
            what);
    return CLI_USAGE;
}

static int find_files(const struct run_options *o, struct run_plan *plan)
{
    if (o->kernel) {
        snprintf(plan->kernel, sizeof(plan->kernel), "%s", o->kernel);
    } else if (!find_file(plan->kernel, sizeof(plan->kernel), KERNEL_NAME, "kernel/")) {
        return no_file("kernel");
    }
    plan->default_initrd = !o->initrd && (!o->kernel || o->command);
    if (o->initrd) {
        snprintf(plan->initrd, sizeof(plan->initrd), "%s", o->initrd);
    } else if (plan->default_initrd &&
               !find_file(plan->initrd, sizeof(plan->initrd), INITRD_NAME, "")) {
        return no_file("initrd");
    }
    return 0;
}

/* ---- what the guest is told ---- */

static void add_file(struct cpio *c, const char *path, const void *data, size_t len)
{
    cpio_add(c, path, S_IFREG | 0444, 0, 0, data, len);
}

/* A file of NUL-terminated strings. */
static int add_strings(struct cpio *c, const char *path, char *const *strings)
{
    size_t len = 0;
    for (char *const *s = strings; *s; s++) {
        len += strlen(*s) + 1;
    }
    char *text = malloc(len + 1);
    if (!text) {
        return -1;
    }
    size_t at = 0;
    for (char *const *s = strings; *s; s++) {
        size_t n = strlen(*s) + 1;
        memcpy(text + at, *s, n);
        at += n;
    }
    add_file(c, path, text, len);
    free(text);
    return 0;
}

/* TERM and the size of the terminal, for a program that uses it. */
static int add_environment(struct cpio *c)
{
    char term[128], rows[32], columns[32];
    char *env[4] = {0};
    size_t n = 0;
    struct winsize size;
    const char *name = getenv("TERM");
    if (name && snprintf(term, sizeof(term), "TERM=%s", name) < (int)sizeof(term)) {
        env[n++] = term;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
        snprintf(rows, sizeof(rows), "LINES=%u", size.ws_row);
        snprintf(columns, sizeof(columns), "COLUMNS=%u", size.ws_col);
        env[n++] = rows;
        env[n++] = columns;
    }
    return add_strings(c, CHANNEL_ENV, env);
}

static void make_token(char token[CHANNEL_TOKEN_LEN + 1])
{
    uint8_t random[CHANNEL_TOKEN_LEN];
    host_random(random, sizeof(random));
    for (size_t i = 0; i < CHANNEL_TOKEN_LEN; i++) {
        token[i] = (char)('a' + random[i] % 16);
    }
    token[CHANNEL_TOKEN_LEN] = '\0';
}

static int make_extra(const struct run_options *o, struct run_plan *plan)
{
    struct cpio *c = &plan->extra;
    int failed = 0;
    cpio_add(c, CHANNEL_DIR, S_IFDIR | 0755, 0, 0, NULL, 0);
    if (o->command) {
        failed |= add_strings(c, CHANNEL_ARGV, o->command);
    }
    failed |= add_environment(c);
    if (plan->console != CONSOLE_PLAIN) {
        make_token(plan->token);
        add_file(c, CHANNEL_TOKEN, plan->token, CHANNEL_TOKEN_LEN);
    }
    if (plan->console == CONSOLE_PIPES) {
        add_file(c, CHANNEL_PIPES, NULL, 0);
    }
    int told = run_tell_devices(c, o);
    if (told > 0) {
        return told;
    }
    failed |= told | cpio_finish(c);
    if (failed) {
        fprintf(stderr, "ring3 run: out of memory\n");
        return CLI_USAGE;
    }
    return 0;
}

/* The kernel's command line: the user's own for the user's own guest. */
static int make_cmdline(const struct run_options *o, struct run_plan *plan)
{
    const char *more = o->append ? o->append : "";
    int len;
    if (!plan->default_initrd) {
        const char *base = o->append ? "" : o->kernel ? "console=ttyS0" : default_cmdline;
        len = snprintf(plan->cmdline, sizeof(plan->cmdline), "%s%s", base, more);
    } else {
        /* A command's terminal is its own: only a panic is worth showing, and it ends the machine.
         */
        const char *noise = o->verbose                       ? ""
                            : plan->console == CONSOLE_PLAIN ? " quiet"
                                                             : " quiet loglevel=1 panic=-1";
        len = snprintf(plan->cmdline, sizeof(plan->cmdline), "%s%s%s%s", default_cmdline, noise,
                       *more ? " " : "", more);
    }
    if ((size_t)len >= sizeof(plan->cmdline)) {
        fprintf(stderr, "ring3 run: -a: longer than any kernel takes\n");
        return CLI_USAGE;
    }
    return 0;
}

/* Standard input that is no terminal, without a command, is a script for the shell. */
static void choose_console(const struct run_options *o, struct run_plan *plan)
{
    bool in = isatty(STDIN_FILENO), out = isatty(STDOUT_FILENO);
    if (o->detach) { /* who attaches later is a terminal */
        plan->console = plan->default_initrd && o->command ? CONSOLE_COMMAND : CONSOLE_PLAIN;
    } else if (!plan->default_initrd || (!o->command && in)) {
        plan->console = CONSOLE_PLAIN;
        plan->raw_terminal = in;
    } else if (in && out) {
        plan->console = CONSOLE_COMMAND;
        plan->raw_terminal = true;
    } else {
        plan->console = CONSOLE_PIPES;
    }
}

int run_make_plan(const struct run_options *o, struct run_plan *plan)
{
    *plan = (struct run_plan){0};
    int failed = find_files(o, plan);
    if (failed) {
        return failed;
    }
    choose_console(o, plan);
    failed = make_cmdline(o, plan);
    return failed || !plan->default_initrd ? failed : make_extra(o, plan);
}
