/* Spaces as a software TLB of the guest's user half: one for each recently used page-table root.
 *
 * A space is keyed by the root's frame, not by PCID: after a flush its entries are compared with the guest's tables rather than thrown away
 * (mmu/shadow.h). Invariant, needed for isolation between guest processes (DESIGN §4.4): once the guest's flush instruction has completed, no
 * space can use a dropped mapping: either the drop was carried out, or the space is parked and the drop is queued before its next run.
 *
 * A space's home (host.h) is chosen where the guest has no page, and chosen again when the guest comes to have one there.
 */
#ifndef BT_USPACE_H
#define BT_USPACE_H

#include "bt/bt.h"
#include "host/host.h"
#include "mmu/shadow.h"

#define USPACE_MAX 48

struct uspace {
    bool used;
    bool parked;          /* certainly not running guest code */
    bool stale;           /* a flush happened while it was not current: verify before the next run */
    uint64_t root;        /* page-table root, guest-physical */
    unsigned home;
    uint16_t pcid;        /* last used with */
    uint64_t last_used;
    struct space *space;
    struct bt_cpu *b;
    uint64_t tls[3];      /* 32-bit TLS descriptors last given to the space */
    struct shadow shadow;
};

struct uspaces {
    struct uspace slot[USPACE_MAX];
    struct uspace *current;  /* of the present root, or NULL */
    struct uspace *fpu_in;   /* this space's frame holds the guest's FPU state, or NULL: v->xsave does */
    uint64_t clock;
};

int uspace_init(struct bt_cpu *b);
/** The space of the present root, made or revived; NULL with vm_fail called. */
struct uspace *uspace_current(struct bt_cpu *b);
/** CR3 now has another root: the old one must not run on. */
void uspace_switch(struct bt_cpu *b);
/** Flush: of the present root (pcid < 0), of every space last used with pcid, or of all (`all`). */
void uspace_flush(struct bt_cpu *b, int pcid, bool all);
void uspace_invlpg(struct bt_cpu *b, uint64_t gva);
void uspace_protect_ppn(struct bt_cpu *b, uint64_t ppn);
/** The space died: forget it. */
void uspace_drop(struct bt_cpu *b, struct uspace *u);
/** Something cannot be done in u's home. True: there is a better one now, and u was dropped; uspace_current makes it anew there. */
bool uspace_rehome(struct bt_cpu *b, struct uspace *u);

#endif
