/* How often each cluster is referred to: a sparse array in chunks. See qcow2_check.h. */
#include "block/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>

static size_t find(const struct refs *r, uint64_t first)
{
    size_t i = (size_t)((first * 0x9e3779b97f4a7c15ull) >> 24) & (r->slots - 1);
    while (r->slot[i] && r->chunk[r->slot[i] - 1]->first != first) {
        i = (i + 1) & (r->slots - 1);
    }
    return i;
}

/** Room for one more chunk, the hash at most half full. */
static int make_room(struct refs *r)
{
    if (r->chunks < r->room) {
        return 0;
    }
    size_t room = r->room ? r->room * 2 : 64;
    if (room * sizeof(struct refs_chunk) > REFS_BYTES_MAX * 2) {
        return -ENOMEM;
    }
    struct refs_chunk **chunk = realloc(r->chunk, room * sizeof(struct refs_chunk *));
    if (!chunk) {
        return -ENOMEM;
    }
    r->chunk = chunk;
    uint32_t *slot = calloc(room * 2, sizeof(*slot));
    if (!slot) {
        return -ENOMEM;
    }
    free(r->slot);
    r->slot = slot;
    r->slots = room * 2;
    r->room = room;
    for (size_t i = 0; i < r->chunks; i++) {
        r->slot[find(r, r->chunk[i]->first)] = (uint32_t)i + 1;
    }
    return 0;
}

int refs_add(struct refs *r, uint64_t cluster, uint64_t n)
{
    const uint64_t first = align_down(cluster, REFS_CHUNK);
    size_t i = r->slots ? find(r, first) : 0;
    if (!r->slots || !r->slot[i]) {
        int rc = make_room(r);
        struct refs_chunk *new = rc ? NULL : calloc(1, sizeof(*new));
        if (!new) {
            return -ENOMEM;
        }
        new->first = first;
        i = find(r, first);
        r->chunk[r->chunks++] = new;
        r->slot[i] = (uint32_t)r->chunks;
    }
    uint32_t *count = &r->chunk[r->slot[i] - 1]->count[cluster - first];
    *count = (uint32_t)min_u64(UINT32_MAX, *count + n);
    return 0;
}

uint64_t refs_get(const struct refs *r, uint64_t cluster)
{
    const uint64_t first = align_down(cluster, REFS_CHUNK);
    size_t i = r->slots ? find(r, first) : 0;
    return r->slots && r->slot[i] ? r->chunk[r->slot[i] - 1]->count[cluster - first] : 0;
}

void refs_fini(struct refs *r)
{
    for (size_t i = 0; i < r->chunks; i++) {
        free(r->chunk[i]);
    }
    free(r->chunk);
    free(r->slot);
    *r = (struct refs){0};
}
