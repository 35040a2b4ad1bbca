/* A set of cluster numbers: open addressing with linear probing, at most half full. */
#include "block/qcow2_impl.h"

#include <errno.h>
#include <stdlib.h>

static size_t home(const struct cluster_set *s, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15ull) >> 20) & (s->size - 1);
}

/** The slot of key, or the empty one where it would be. */
static size_t find(const struct cluster_set *s, uint64_t key)
{
    size_t i = home(s, key);
    while (s->slot[i] && s->slot[i] != key) {
        i = (i + 1) & (s->size - 1);
    }
    return i;
}

static int grow(struct cluster_set *s)
{
    struct cluster_set bigger = {.size = s->size ? s->size * 2 : 64, .count = s->count};
    bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
    if (!bigger.slot) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < s->size; i++) {
        if (s->slot[i]) {
            bigger.slot[find(&bigger, s->slot[i])] = s->slot[i];
        }
    }
    free(s->slot);
    *s = bigger;
    return 0;
}

int cluster_set_add(struct cluster_set *s, uint64_t cluster)
{
    if (s->count * 2 >= s->size) {
        int rc = grow(s);
        if (rc) {
            return rc;
        }
    }
    size_t i = find(s, cluster + 1);
    if (s->slot[i]) {
        return 1;
    }
    s->slot[i] = cluster + 1;
    s->count++;
    return 0;
}

bool cluster_set_has(const struct cluster_set *s, uint64_t cluster)
{
    return s->size && s->slot[find(s, cluster + 1)];
}

void cluster_set_remove(struct cluster_set *s, uint64_t cluster)
{
    if (!cluster_set_has(s, cluster)) {
        return;
    }
    size_t gap = find(s, cluster + 1);
    s->slot[gap] = 0;
    s->count--;
    /* What lies behind and could not get nearer to its home moves up. */
    for (size_t i = (gap + 1) & (s->size - 1); s->slot[i]; i = (i + 1) & (s->size - 1)) {
        uint64_t key = s->slot[i];
        s->slot[i] = 0;
        s->slot[find(s, key)] = key;
    }
}

void cluster_set_fini(struct cluster_set *s)
{
    free(s->slot);
    *s = (struct cluster_set){0};
}
