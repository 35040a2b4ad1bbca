/* Network cards: up, with an address.
 *
 * busybox's udhcpc asks for one, in the background; its script (etc/udhcpc/default.script) sets it
 * and then makes a file under /run/network, which is what a waiting command waits for.
 */
#include "init.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CARDS_MAX 16
#define STEP_MS 4

void network_up(const char *interface)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifr = {.ifr_flags = IFF_UP | IFF_RUNNING};
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
    if (s >= 0) {
        ioctl(s, SIOCSIFFLAGS, &ifr);
        close(s);
    }
}

/* What the N-th card's cable leads to: "user" when nothing was said. */
static const char *kind_of(unsigned n, char *const *kinds)
{
    for (unsigned i = 0; kinds && kinds[i]; i++) {
        if (i == n) {
            return kinds[i];
        }
    }
    return CHANNEL_NET_USER;
}

static void start(char *interface, const char *kind)
{
    char *dhcp[] = {"udhcpc", "-f", "-i", interface, "-T", "1", "-O", "mtu", NULL};
    char *link_local[] = {"/etc/udhcpc/default.script", "leasefail", NULL};
    network_up(interface);
    if (fork() == 0) {
        char log[64];
        snprintf(log, sizeof(log), "/run/network/%s.log", interface);
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        setsid();
        setenv("interface", interface, 1);
        init_exec(strcmp(kind, CHANNEL_NET_SWITCH) == 0 ? link_local : dhcp);
    }
}

static void interface_name(char name[IFNAMSIZ], unsigned n)
{
    snprintf(name, IFNAMSIZ, "eth%u", n);
}

static bool there(const char *folder, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

void network_start(char *const *kinds)
{
    char name[IFNAMSIZ];
    for (unsigned n = 0; n < CARDS_MAX; n++) {
        interface_name(name, n);
        if (there("/sys/class/net", name)) {
            mkdir("/run/network", 0755);
            start(name, kind_of(n, kinds));
        }
    }
}

void network_wait(char *const *kinds, unsigned ms)
{
    char name[IFNAMSIZ];
    for (unsigned n = 0, waited = 0; n < CARDS_MAX; n++) {
        interface_name(name, n);
        if (!there("/sys/class/net", name) || strcmp(kind_of(n, kinds), CHANNEL_NET_TAP) == 0) {
            continue;
        }
        while (!there("/run/network", name) && waited < ms) {
            nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000l}, NULL);
            waited += STEP_MS;
        }
        if (!there("/run/network", name)) {
            fprintf(stderr, "ring3 guest: %s: no address by DHCP after %u s; going on without\n",
                    name, ms / 1000);
        }
    }
}
