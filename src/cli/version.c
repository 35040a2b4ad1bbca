/* ring3 version */
#include "cli/cli.h"

#include <stdio.h>

int version_main(int argc, char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "ring3 version: takes no arguments: %s\n", argv[1]);
        return CLI_USAGE;
    }
    printf("ring3 %s\n", RING3_VERSION);
    return 0;
}
