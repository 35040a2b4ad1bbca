/* Which name servers to tell passt of, where its own way of finding them gives none. No state. */
#include "net/passt.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct servers {
    unsigned local;                             /* on the loopback interface */
    unsigned remote;                            /* the others, */
    char name[PASST_DNS_MAX][INET6_ADDRSTRLEN]; /* the first of them */
};

static bool is_local(const char *name)
{
    struct in_addr v4;
    struct in6_addr v6;
    return (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) ||
           (inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static bool is_address(const char *name)
{
    struct in6_addr room;
    return inet_pton(AF_INET, name, &room) == 1 || inet_pton(AF_INET6, name, &room) == 1;
}

static struct servers read_servers(const char *path)
{
    struct servers s = {0};
    char line[256], name[INET6_ADDRSTRLEN];
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, " nameserver %45s", name) != 1 || !is_address(name)) {
            continue;
        }
        if (is_local(name)) {
            s.local++;
        } else if (s.remote++ < PASST_DNS_MAX) {
            memcpy(s.name[s.remote - 1], name, sizeof(name));
        }
    }
    if (f) {
        fclose(f);
    }
    return s;
}

unsigned passt_find_dns(const char *resolv, const char *behind, char (*to)[INET6_ADDRSTRLEN])
{
    struct servers own = read_servers(resolv);
    if (own.remote || !own.local) {
        return 0;
    }
    struct servers real = read_servers(behind);
    unsigned n = real.remote < PASST_DNS_MAX ? real.remote : PASST_DNS_MAX;
    memcpy(to, real.name, n * sizeof(to[0]));
    return n;
}
