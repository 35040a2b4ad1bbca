/* Where in its addresses a space keeps its own pages: its home.
 *
 * All of the user half is the guest's to use, so a home can be in the way of a program. It is put
 * where no system maps anything by itself and no program is known to: away from both ends, from
 * where Linux puts programs, heaps and mappings, and from the fixed places of language runtimes and
 * of sanitizers' shadow memory. If a program comes there all the same, its space is made anew in
 * another home (bt/uspace.c).
 *
 * A home is the stub, in the middle of 2 MB that are otherwise empty, and the desk: a page below
 * 4 GB, for the one system call of the stub that takes a 32-bit pointer. The desk is above all that
 * Linux lets 32-bit programs map, but not in the last page, where they must find nothing: small
 * negative numbers taken for pointers are errors to be noticed. Homes without a desk are for 64-bit
 * programs that map that page.
 *
 * That a program uses memory in its home is seen when a page of it is to be mapped. Until then
 * accesses to the stub's few pages find these, hence the empty space on both sides: a program that
 * uses such memory from one end to the other is noticed before it gets there.
 *
 * State: none.
 */
#include "host/linux/space_priv.h"

#define HOME_SIZE 0x200000ull
#define HOME_STUB 0xc0000ull
#define DESK 0xffffe000ull

static const uint64_t homes[] = {0x69c31a800000, 0x5d176ec00000, 0x4a6b35e00000, 0x27e44d200000};

int host_space_home(unsigned home, struct space_range own[SPACE_OWN_MAX])
{
    const unsigned count = ARRAY_LEN(homes);
    int ranges = 0;
    if (home >= 2 * count) {
        return -1;
    }
    if (home < count) {
        own[ranges++] = (struct space_range){DESK, PAGE_SIZE};
    }
    own[ranges++] = (struct space_range){homes[home % count], HOME_SIZE};
    return ranges;
}

void space_home_set(struct space *s, unsigned home)
{
    int ranges = host_space_home(home, s->own);
    BUG_ON(ranges < 1);
    s->home = home;
    s->own_count = (unsigned)ranges;
    s->base = space_home_base(home);
    s->desk_gva = ranges > 1 ? DESK : 0;
}

uint64_t space_home_base(unsigned home)
{
    return homes[home % ARRAY_LEN(homes)] + HOME_STUB;
}

bool space_home_touched(const struct space *s, uint64_t gva, uint64_t len)
{
    for (unsigned i = 0; i < s->own_count; i++) {
        if (gva < s->own[i].gva + s->own[i].len && gva + len > s->own[i].gva) {
            return true;
        }
    }
    return false;
}

bool space_home_skip(const struct space *s, uint64_t *from, uint64_t to, struct space_range *part)
{
    uint64_t end = to;
    for (unsigned i = 0; i < s->own_count; i++) {
        uint64_t own = s->own[i].gva, own_end = own + s->own[i].len;
        if (*from < own) {
            end = min_u64(to, own);
            break;
        }
        *from = max_u64(*from, *from < own_end ? own_end : 0);
    }
    if (*from >= to) {
        return false;
    }
    *part = (struct space_range){*from, end - *from};
    *from = end;
    return true;
}
