/* The help texts of the verbs about machines that run. */
#include "cli/cli.h"

#define NAMES                                                                                      \
    "\n"                                                                                           \
    "A NAME is a machine's name, or a beginning that only one has.\n"
#define WHOLE_NAMES                                                                                \
    "\n"                                                                                           \
    "A NAME is all of a machine's name.\n"
#define STATUS                                                                                     \
    "\n"                                                                                           \
    "Exit status: 0; 1 when a machine is not in a state for it or does not answer; 2 for bad\n"    \
    "input.\n"

const char ps_help[] =
    "Usage: ring3 ps [-q] [--format table|json]\n"
    "\n"
    "List your machines: those that run, and what is left of those that ran in the\n"
    "background, until 'ring3 rm' removes it.\n"
    "\n"
    "  -q, --quiet          only the names\n"
    "      --format FORMAT  table (default) or json\n"
    "  -h, --help           this text\n"
    "\n"
    "States: starting, running, paused, stopping (asked to power off), exited (with\n"
    "its exit status), dead (its monitor crashed or was killed).\n";

const char console_help[] =
    "Usage: ring3 console NAME\n"
    "\n"
    "Attach to the console of a running machine: what was said last, all that it says from now "
    "on,\n"
    "and what you type. Several can be attached at a time. When the machine ends, its exit status "
    "is\n"
    "that of ring3 console; a reboot is followed.\n"
    "\n"
    "Keys: Ctrl-A d detaches, Ctrl-A x ends the machine, Ctrl-A h helps, Ctrl-A Ctrl-A sends "
    "Ctrl-A.\n"
    "Standard input that is not a terminal is typed as it is, without keys; after its end what "
    "the\n"
    "machine says is shown on, until it ends or a signal ends ring3 console.\n"
    "\n"
    "  -h, --help           this text\n" NAMES STATUS;

const char logs_help[] =
    "Usage: ring3 logs [-f] [-n LINES] NAME\n"
    "\n"
    "Show what the console of a machine in the background said, the last 2 to 4 MB of it.\n"
    "\n"
    "  -f, --follow         go on until the machine ends\n"
    "  -n, --lines LINES    only the last LINES lines\n"
    "  -h, --help           this text\n" NAMES STATUS;

const char stop_help[] =
    "Usage: ring3 stop [-t SECONDS] NAME...\n"
    "\n"
    "Press the power button, wait until the machine has powered off, and print its name. One that\n"
    "takes longer than SECONDS is killed, which is said and makes the exit status 1.\n"
    "Of a machine that is ending already, the end is waited for.\n"
    "\n"
    "  -t, --time SECONDS   how long it may take (default 30)\n"
    "  -h, --help           this text\n" WHOLE_NAMES STATUS;

const char kill_help[] = "Usage: ring3 kill NAME...\n"
                         "\n"
                         "End machines at once, as if their power were cut. What they flushed to "
                         "their disks is there. A\n"
                         "monitor that does not answer is killed.\n"
                         "\n"
                         "  -h, --help           this text\n" WHOLE_NAMES STATUS;

const char pause_help[] = "Usage: ring3 pause NAME...\n"
                          "\n"
                          "Hold machines: they use no processor time until 'ring3 resume'. Their "
                          "guests are told afterwards\n"
                          "that time stood still.\n"
                          "\n"
                          "  -h, --help           this text\n" WHOLE_NAMES STATUS;

const char resume_help[] = "Usage: ring3 resume NAME...\n"
                           "\n"
                           "Let machines go on that 'ring3 pause' holds.\n"
                           "\n"
                           "  -h, --help           this text\n" WHOLE_NAMES STATUS;

const char stats_help[] =
    "Usage: ring3 stats [--once] [--format table|json] [NAME...]\n"
    "\n"
    "Show what machines use: processor time (CPU%: the guest, MON%: serving its devices; 100 is "
    "one\n"
    "processor), memory, disks, network, and how often ring3 had to step in; for one machine also "
    "the\n"
    "kinds of these exits. Without NAME, of all that run. On a terminal, as much as fits, anew "
    "every\n"
    "second until Ctrl-C.\n"
    "\n"
    "      --once           one table, of half a second\n"
    "      --format FORMAT  table (default); json: the counters as they are, once\n"
    "  -h, --help           this text\n" NAMES STATUS;

const char inspect_help[] = "Usage: ring3 inspect NAME...\n"
                            "\n"
                            "Print all that is known about machines as JSON: what they were "
                            "started with, how they are, and,\n"
                            "while they run, what they say of themselves.\n"
                            "\n"
                            "  -h, --help           this text\n" NAMES STATUS;

const char rm_help[] =
    "Usage: ring3 rm [-f] NAME...\n"
    "\n"
    "Remove what is left of machines that have ended, exited or dead: state and log.\n"
    "Their names are free afterwards. Disks are never touched.\n"
    "\n"
    "  -f, --force          kill those that run, first\n"
    "  -h, --help           this text\n" WHOLE_NAMES STATUS;
