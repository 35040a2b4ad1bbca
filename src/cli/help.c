/* ring3 help, and the help texts of all verbs. */
#include "cli/cli.h"

#include <stdio.h>

static const char run_help[] =
    "Usage: ring3 run [OPTIONS] [-- CMD ARGS...]\n"
    "\n"
    "Start a virtual machine, on this terminal or in the background. Without -k, the default guest:\n"
    "Debian's cloud kernel and a busybox shell. With CMD, the default guest runs CMD and ends: its\n"
    "output is ring3's output, its exit status ring3's.\n"
    "\n"
    "  -k, --kernel FILE    kernel: bzImage, or ELF (vmlinux, test guests)\n"
    "  -i, --initrd FILE    initial RAM file system\n"
    "  -a, --append TEXT    kernel command line: all of it with -k, else added to the default "
    "guest's\n"
    "  -m, --memory SIZE    RAM, in MB or with suffix K, M, G (default 256M, at least 4M)\n"
    "  -c, --cpus N         processors; only 1 so far\n"
    "  -d, --disk DISK      a disk: FILE[,ro][,format=raw|qcow2][,backing][,serial=TEXT][,iops=N]\n"
    "                       [,bps=N], nbd://... or nbd+unix://..., concat:A,B, stripe:64K:A,B or\n"
    "                       mirror:A,B; backing: with the file that a qcow2 image names beneath it\n"
    "      --net NETWORK    a network card: user[,no-host-loopback], tap=NAME or switch=NAME, each\n"
    "                       [,mac=MAC][,bps=N]; may be repeated\n"
    "  -p, --port PORTS     [ADDR:]HOST:GUEST[/udp], a port of this host that leads to one of the\n"
    "                       guest's, or a range of them, as in 8000-8009:80-89\n"
    "  -v, --volume SHARE   SRC:DST[:ro], a directory of this host in the guest\n"
    "      --detach         run in the background: print the name, leave the console to 'ring3 "
    "console'\n"
    "      --name NAME      the machine's name (without it, one is made up)\n"
    "      --rm             with --detach: keep nothing of the machine when it has ended\n"
    "      --weight WEIGHT  its share of busy processors, 1 to 10000 (default 100)\n"
    "      --cap PERCENT    the processor time it can have at most; 100 is one processor\n"
    "      --engine NAME    auto (default) or bt\n"
    "      --no-reboot      end when the guest reboots, instead of starting again\n"
    "      --stat           print event counters at the end, on standard error\n"
    "      --trace FILE     write the event stream to FILE\n"
    "      --dry-run        print the machine that would be started, and end\n"
    "      --verbose        say what is started; kernel messages of the default guest\n"
    "  -h, --help           this text\n"
    "\n"
    "QEMU's spellings -kernel, -initrd, -append, -smp, -no-reboot work too.\n"
    "\n"
    "Keys: Ctrl-A x ends ring3 and the guest, Ctrl-A h helps, Ctrl-A Ctrl-A sends Ctrl-A.\n"
    "\n"
    "Exit status:\n"
    "  0        the guest powered off, or rebooted (--no-reboot, or its console is no terminal),\n"
    "           or CMD ended well\n"
    "  N        CMD's exit status (128+N: it died of signal N; 127: no such command),\n"
    "           or what the guest wrote to the debug-exit port 0xf4\n"
    "  2        bad options or files; nothing was started\n"
    "  123      the guest's processor shut down (triple fault)\n"
    "  125      ring3 or the host failed\n"
    "  126      the guest did something its machine cannot go on from, or powered off or rebooted\n"
    "           before CMD had ended\n"
    "  130      Ctrl-A x\n"
    "  137      'ring3 kill', or 'ring3 stop' whose time was over\n"
    "A signal that ends ring3 ends the guest first.\n";

static const char switch_help[] =
    "Usage: ring3 switch [NAME]\n"
    "\n"
    "Show who is on the switches (run's --net switch=NAME), or on the one named: the address of each\n"
    "machine's card, the bytes that it sent and received, and how many frames for it were dropped\n"
    "because it did not take them in time. A switch starts with the first machine that names it and\n"
    "ends with the last.\n";

static const char version_help[] = "Usage: ring3 version\n\nPrint the version.\n";

static const char help_help[] =
    "Usage: ring3 help [COMMAND]\n\nHelp about ring3, or about a command.\n";

const struct cli_verb cli_verbs[] = {
    {"run", "start a virtual machine", run_help, run_main},
    {"ps", "list machines", ps_help, ps_main},
    {"console", "attach this terminal to a machine's console", console_help, console_main},
    {"logs", "show what a machine in the background said", logs_help, logs_main},
    {"stop", "press the power button of machines", stop_help, stop_main},
    {"kill", "end machines at once", kill_help, kill_main},
    {"pause", "hold machines", pause_help, pause_main},
    {"resume", "let held machines go on", resume_help, resume_main},
    {"stats", "what machines use", stats_help, stats_main},
    {"inspect", "all that is known about machines, as JSON", inspect_help, inspect_main},
    {"rm", "remove what is left of machines that ended", rm_help, rm_main},
    {"image", "make, describe, check and copy disk images", image_help, image_main},
    {"switch", "who is on the networks between machines", switch_help, switch_main},
    {"doctor", "what this processor and this host can do", NULL, doctor_main},
    {"version", "print the version", version_help, version_main},
    {"help", "help about ring3 or a command", help_help, help_main},
    {0},
};

int cli_print_help(const struct cli_verb *verb)
{
    if (!verb->help) {
        char name[16], option[] = "--help";
        snprintf(name, sizeof(name), "%s", verb->name);
        return verb->main(2, (char *[]){name, option, NULL});
    }
    fputs(verb->help, stdout);
    return 0;
}

int help_main(int argc, char **argv)
{
    if (argc > 2) {
        fprintf(stderr, "ring3 help: one command at a time\n");
        return CLI_USAGE;
    }
    if (argc == 2) {
        const struct cli_verb *verb = cli_find_verb(argv[1]);
        if (!verb) {
            fprintf(stderr, "ring3 help: no such command: %s; 'ring3 help' lists them\n", argv[1]);
            return CLI_USAGE;
        }
        return cli_print_help(verb);
    }
    puts("ring3 runs unmodified operating systems in virtual machines, with or without VT-x or "
         "SVM.\n"
         "\n"
         "Usage: ring3 COMMAND [ARGS...]\n");
    for (const struct cli_verb *v = cli_verbs; v->name; v++) {
        printf("  %-10s %s\n", v->name, v->summary);
    }
    puts("\n'ring3 run' gives a shell in a virtual machine; 'ring3 help COMMAND' says more.");
    return 0;
}
