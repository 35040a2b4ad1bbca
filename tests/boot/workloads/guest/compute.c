/* Something for a compiler to chew on and a processor to do: well-known computations, each ending
 * in a checksum. The same lines come out for any optimisation level and for 32 and 64 bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33);
}

static uint32_t crc32(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    crc = ~crc;
    while (len--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++) {
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
        }
    }
    return ~crc;
}

/* ---- sorting ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void merge_sort(uint32_t *v, uint32_t *room, size_t n)
{
    if (n < 2) {
        return;
    }
    size_t half = n / 2, i = 0, j = half, k = 0;
    merge_sort(v, room, half);
    merge_sort(v + half, room, n - half);
    while (k < n) {
        room[k++] = j == n || (i < half && v[i] <= v[j]) ? v[i++] : v[j++];
    }
    memcpy(v, room, n * sizeof(*v));
}

static uint32_t sorts(void)
{
    enum { N = 50000 };
    uint32_t *a = malloc(N * sizeof(*a)), *b = malloc(N * sizeof(*b)),
             *room = malloc(N * sizeof(*room));
    for (int i = 0; i < N; i++) {
        a[i] = b[i] = next_random();
    }
    qsort(a, N, sizeof(*a), compare);
    merge_sort(b, room, N);
    uint32_t sum = memcmp(a, b, N * sizeof(*a)) ? 0 : crc32(0, a, N * sizeof(*a));
    free(a);
    free(b);
    free(room);
    return sum;
}

/* ---- a balanced tree ---- */

struct node {
    struct node *child[2];
    uint32_t key, priority;
};

static struct node *rotate(struct node *n, int side)
{
    struct node *up = n->child[side];
    n->child[side] = up->child[!side];
    up->child[!side] = n;
    return up;
}

static struct node *insert(struct node *n, uint32_t key)
{
    if (!n) {
        n = calloc(1, sizeof(*n));
        n->key = key;
        n->priority = next_random();
    } else if (key != n->key) {
        int side = key > n->key;
        n->child[side] = insert(n->child[side], key);
        n = n->child[side]->priority < n->priority ? rotate(n, side) : n;
    }
    return n;
}

static uint32_t walk_and_free(struct node *n, uint32_t sum)
{
    if (n) {
        sum = walk_and_free(n->child[0], sum);
        sum = crc32(sum, &n->key, sizeof(n->key));
        sum = walk_and_free(n->child[1], sum);
        free(n);
    }
    return sum;
}

static uint32_t tree(void)
{
    struct node *root = NULL;
    for (int i = 0; i < 30000; i++) {
        root = insert(root, next_random() % 50000);
    }
    return walk_and_free(root, 0);
}

/* ---- numbers ---- */

static uint32_t matrices(void)
{
    enum { N = 60 };
    static double a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = next_random() % 1000;
            b[i][j] = next_random() % 1000;
        }
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            c[i][j] = 0;
            for (int k = 0; k < N; k++) {
                c[i][j] += a[i][k] * b[k][j]; /* whole numbers: exact */
            }
        }
    }
    return crc32(0, c, sizeof(c));
}

/* 2^n by repeated doubling of decimal digits */
static uint32_t big_number(int n)
{
    static char digits[1000];
    memset(digits, 0, sizeof(digits));
    digits[0] = 1;
    for (; n; n--) {
        int carry = 0;
        for (size_t i = 0; i < sizeof(digits); i++) {
            int d = digits[i] * 2 + carry;
            digits[i] = (char)(d % 10);
            carry = d / 10;
        }
    }
    return crc32(0, digits, sizeof(digits));
}

static uint32_t divisions(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t a = (uint64_t)next_random() << 32 | next_random(), b = next_random() | 1;
        int64_t c = (int64_t)(a ^ b << 20);
        sum = sum * 31 + a / b + a % b + (uint64_t)(c / (int64_t)b) + (uint64_t)(c % (int64_t)b);
    }
    return (uint32_t)(sum ^ sum >> 32);
}

static uint32_t roots(void)
{
    uint32_t sum = 0;
    for (int i = 1; i < 2000; i++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "%.9f %.6e %d %x %s", sqrt(i), sqrt(i) * 1e20, -i,
                           (unsigned)i * 77777u, i & 1 ? "odd" : "even");
        sum = crc32(sum, text, (size_t)len);
    }
    return sum;
}

/* ---- search ---- */

static int queens(int n, uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t all = (1u << n) - 1, free_places = all & ~(columns | left | right);
    int found = columns == all;
    while (free_places) {
        uint32_t place = free_places & -free_places;
        free_places -= place;
        found += queens(n, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    return found;
}

static uint32_t primes(void)
{
    enum { N = 2000000 };
    uint8_t *composite = calloc(N, 1);
    uint32_t count = 0;
    for (uint32_t i = 2; i < N; i++) {
        if (!composite[i]) {
            count++;
            for (uint64_t j = (uint64_t)i * i; j < N; j += i) {
                composite[j] = 1;
            }
        }
    }
    free(composite);
    return count;
}

/* ---- memory and control ---- */

static uint32_t churn(void)
{
    enum { N = 500 };
    char *block[N] = {0};
    size_t size[N] = {0};
    uint32_t sum = 0;
    for (int i = 0; i < 20000; i++) {
        unsigned at = next_random() % N;
        if (block[at]) {
            sum = crc32(sum, block[at], size[at] < 64 ? size[at] : 64);
        }
        size[at] = 1 + next_random() % (i % 100 ? 2000 : 300000);
        block[at] = realloc(block[at], size[at]);
        memset(block[at], i, size[at]);
    }
    for (int i = 0; i < N; i++) {
        free(block[i]);
    }
    return sum;
}

static jmp_buf back;

static int deep(int n)
{
    if (n == 0) {
        longjmp(back, 7);
    }
    return deep(n - 1) + 1; /* never seen */
}

static uint32_t jumps(void)
{
    volatile uint32_t sum = 0;
    for (volatile int i = 0; i < 300; i++) {
        int v = setjmp(back);
        if (!v) {
            v = deep(i);
        }
        sum = sum + (uint32_t)v;
    }
    return sum;
}

int main(void)
{
    random_state = 42;
    printf("sorts %08x\n", sorts());
    printf("tree %08x\n", tree());
    printf("matrices %08x\n", matrices());
    printf("big number %08x\n", big_number(3000));
    printf("divisions %08x\n", divisions());
    printf("roots %08x\n", roots());
    printf("queens %d\n", queens(9, 0, 0, 0));
    printf("primes %u\n", primes());
    printf("churn %08x\n", churn());
    printf("jumps %u\n", jumps());
    return 0;
}
