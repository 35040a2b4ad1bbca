/* The command line: one file per verb, and what they share.
 *
 * main.c       picks the verb        run.c         ring3 run
 * version.c    ring3 version         run_options.c its options, run_devices.c those that plug in
 * help.c       ring3 help            run_vm.c      the launcher's side, run_detach.c in background
 * help_vms.c   about running ones    run_report.c  what a run says before and after
 * doctor*.c    ring3 doctor          guest_files.c the default guest and what is put into it
 * suggest.c    "did you mean"        image.c       ring3 image
 *
 * About machines that run: ps.c console.c logs.c stop.c kill.c pause.c stats.c inspect.c rm.c, with
 * vms.c (finding and asking them) and args.c (command lines).
 *
 * Only this folder prints to the user and picks exit statuses. Messages are one line on standard
 * error, beginning with "ring3 VERB: ".
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/types.h"

/* Exit statuses, besides 0 and the guest's own. man/ring3.1 and `ring3 help run` say the same. */
#define CLI_USAGE 2          /* bad input; nothing ran */
#define CLI_TRIPLE_FAULT 123 /* the guest's processor shut down */
#define CLI_BROKEN 125       /* ring3 or the host failed */
#define CLI_GUEST_FAILED 126 /* the guest did what its machine cannot go on from */
#define CLI_QUIT 130         /* Ctrl-A x */
#define CLI_KILLED 137       /* `ring3 kill`, or `ring3 stop` whose time was over */

int run_main(int argc, char **argv);
int help_main(int argc, char **argv);
int version_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int switch_main(int argc, char **argv);
int image_main(int argc, char **argv);
extern const char image_help[];
int ps_main(int argc, char **argv);
int console_main(int argc, char **argv);
int logs_main(int argc, char **argv);
int stop_main(int argc, char **argv);
int kill_main(int argc, char **argv);
int pause_main(int argc, char **argv);
int resume_main(int argc, char **argv);
int stats_main(int argc, char **argv);
int inspect_main(int argc, char **argv);
int rm_main(int argc, char **argv);

struct cli_verb {
    const char *name;
    const char *summary; /* one line, for the list of verbs */
    const char *help; /* all of `ring3 help NAME`; NULL: the verb prints it itself, given --help */
    int (*main)(int argc, char **argv);
};
extern const struct cli_verb cli_verbs[]; /* ends with a NULL name */

/* The help of the verbs about running machines, help_vms.c. */
extern const char ps_help[], console_help[], logs_help[], stop_help[], kill_help[], pause_help[],
    resume_help[], stats_help[], inspect_help[], rm_help[];

/** The verb of that name, or NULL. */
const struct cli_verb *cli_find_verb(const char *name);
/** Print a verb's help; returns the exit status. */
int cli_print_help(const struct cli_verb *verb);

/** Of `count` names, the one that `word` was probably meant to be, or NULL. names are
 * NUL-terminated. */
const char *cli_suggest(const char *word, const char *const *names, size_t count);

#endif
