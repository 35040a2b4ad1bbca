/* Picks the kind of network. No state. */
#include "net/net.h"

int net_open(const struct net_config *c, struct net_port **out, struct net_error *err)
{
    static int (*const open_kind[])(const struct net_config *, struct net_port **,
                                    struct net_error *) = {
        [NET_USER] = passt_open,
        [NET_TAP] = tap_open,
        [NET_SWITCH] = switch_port_open,
    };
    if (open_kind[c->kind](c, out, err)) {
        return -1;
    }
    net_make_mac(c, (*out)->mac);
    return 0;
}

void net_close(struct net_port *p)
{
    p->ops->close(p);
}
