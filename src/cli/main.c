/* ring3: picks the verb. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct cli_verb *cli_find_verb(const char *name)
{
    for (const struct cli_verb *v = cli_verbs; v->name; v++) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[32];
    size_t count = 0;
    for (const struct cli_verb *v = cli_verbs; v->name && count < ARRAY_LEN(names); v++) {
        names[count++] = v->name;
    }
    const char *meant = cli_suggest(name, names, count);
    if (meant) {
        fprintf(stderr, "ring3: no such command: %s; did you mean %s?\n", name, meant);
    } else {
        fprintf(stderr, "ring3: no such command: %s; 'ring3 help' lists them\n", name);
    }
    return CLI_USAGE;
}

/* A standard stream that the caller closed would be taken by the next file we open. */
static void fill_standard_streams(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

/* A verb that did all it had to must not hide that nobody could read it. */
static int finish(const char *name, int status)
{
    errno = 0;
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (status || !lost) {
        return status;
    }
    fprintf(stderr, "ring3 %s: cannot write to standard output: %s\n", name,
            errno ? strerror(errno) : "input/output error");
    return CLI_BROKEN;
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    if (argc < 2) {
        help_main(1, argv);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        name = "version";
    } else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    }
    const struct cli_verb *verb = cli_find_verb(name);
    if (!verb) {
        return unknown_verb(name);
    }
    if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        return finish(name, cli_print_help(verb));
    }
    return finish(name, verb->main(argc - 1, argv + 1));
}
