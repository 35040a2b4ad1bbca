/* Random map, unmap, protect, read, write, discard, move and fork over a few pages, held against a
 * model. Whatever is stale in a TLB, real or software, shows as a wrong value or a missing fault.
 * Usage: memory_model [SEED [OPERATIONS]]
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 96 /* more than two leaf tables' corners: the range crosses a 2 MB boundary */
#define FILE_PAGES 16

enum { NONE, READ, WRITE };

/* A page of the model: what an access may do, and the value its first word must have. */
struct page {
    int rights;
    int file; /* the file's page that it shows, or -1 for private memory */
    uint64_t value;
};

static struct page model[PAGES];
static uint64_t file_value[FILE_PAGES];
static uint8_t *base;
static int memfd;
static uint64_t seed = 1;
static sigjmp_buf back;
static volatile int armed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed >> 11;
}

static void on_fault(int sig)
{
    if (!armed) {
        printf("FAIL: signal %d outside an access\n", sig);
        _exit(1);
    }
    siglongjmp(back, 1);
}

static volatile uint64_t *word(int i)
{
    return (volatile uint64_t *)(base + (size_t)i * PAGE);
}

static uint64_t *model_value(int i)
{
    return model[i].file >= 0 ? &file_value[model[i].file] : &model[i].value;
}

static int fail(const char *what, int i, uint64_t got)
{
    printf("FAIL: %s page %d rights %d file %d: got %#lx, expected %#lx\n", what, i,
           model[i].rights, model[i].file, got, *model_value(i));
    return 1;
}

static int access_page(int i, int write)
{
    volatile int bad = 0;
    volatile uint64_t got = 0;
    int allowed = model[i].rights >= (write ? WRITE : READ);
    armed = 1;
    if (sigsetjmp(back, 1) == 0) {
        if (write) {
            uint64_t v = next_random();
            *word(i) = v;
            if (allowed) {
                *model_value(i) = v;
            }
        } else {
            got = *word(i);
            bad = allowed && got != *model_value(i) ? fail("read", i, got) : 0;
        }
        if (!allowed) {
            bad = fail(write ? "write went through:" : "read went through:", i, got);
        }
    } else if (allowed) {
        bad = fail(write ? "write faulted:" : "read faulted:", i, 0);
    }
    armed = 0;
    return bad;
}

static int check_all(void)
{
    int bad = 0;
    for (int i = 0; i < PAGES; i++) {
        bad |= access_page(i, 0);
    }
    return bad;
}

static int child_changes_its_copy(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int bad = 0;
        for (int n = 0; n < 20; n++) {
            int i = (int)(next_random() % PAGES);
            /* what it writes to a file's page the parent would see too */
            bad |= access_page(i, model[i].file < 0);
        }
        _exit(bad);
    }
    for (int n = 0; n < 10; n++) {
        int i = (int)(next_random() % PAGES);
        if (model[i].file < 0 && access_page(i, 1)) {
            return 1;
        }
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status != 0;
}

static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};

static void map_private(int i, int n)
{
    mmap((void *)(uintptr_t)word(i), (size_t)n * PAGE, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    for (; n--; i++) {
        model[i] = (struct page){WRITE, -1, 0};
    }
}

static void map_file(int i, int n, int page)
{
    mmap((void *)(uintptr_t)word(i), (size_t)n * PAGE, PROT_READ | PROT_WRITE,
         MAP_SHARED | MAP_FIXED, memfd, page * (off_t)PAGE);
    for (; n--; i++) {
        model[i] = (struct page){WRITE, page++, 0};
    }
}

static void protect(int i, int n, int rights)
{
    for (; n--; i++) {
        if (mprotect((void *)(uintptr_t)word(i), PAGE, protections[rights]) == 0) {
            model[i].rights = rights;
        }
    }
}

static void discard(int i, int n)
{
    madvise((void *)(uintptr_t)word(i), (size_t)n * PAGE, MADV_DONTNEED);
    for (; n--; i++) {
        model[i].value = 0;
    }
}

/* Move a page onto another; the source becomes a hole. */
static void move(int from, int to)
{
    if (from != to &&
        mremap((void *)(uintptr_t)word(from), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
               (void *)(uintptr_t)word(to)) != MAP_FAILED) {
        model[to] = model[from];
        model[from] = (struct page){NONE, -1, 0};
    }
}

static int one_operation(void)
{
    int i = (int)(next_random() % PAGES), n = 1 + (int)(next_random() % 5);
    n = i + n > PAGES ? PAGES - i : n;
    switch (next_random() % 24) {
    case 0: map_private(i, n); return 0;
    case 1: map_file(i, n, (int)(next_random() % (FILE_PAGES - 5))); return 0;
    case 2:
    case 3: protect(i, n, (int)(next_random() % 3)); return 0;
    case 4: discard(i, 1); return 0;
    case 5: move(i, (int)(next_random() % PAGES)); return 0;
    case 6: {
        uint64_t v = next_random();
        int page = (int)(next_random() % FILE_PAGES);
        if (pwrite(memfd, &v, sizeof(v), page * (off_t)PAGE) == sizeof(v)) {
            file_value[page] = v;
        }
        return 0;
    }
    case 7: {
        /* the kernel's own access */
        uint64_t v = next_random();
        int p[2];
        if (pipe(p) != 0) {
            return 1;
        }
        (void)!write(p[1], &v, sizeof(v));
        ssize_t got = read(p[0], (void *)(uintptr_t)word(i), sizeof(v));
        close(p[0]);
        close(p[1]);
        if ((got == sizeof(v)) != (model[i].rights == WRITE)) {
            return fail("read(2) into", i, (uint64_t)got);
        }
        if (got == sizeof(v)) {
            *model_value(i) = v;
        }
        return 0;
    }
    case 8: return next_random() % 8 ? 0 : child_changes_its_copy();
    default: return access_page(i, next_random() & 1);
    }
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    int operations = argc > 2 ? atoi(argv[2]) : 20000, bad = 0;
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    uint8_t *room = mmap(NULL, 4 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base = (uint8_t *)(((uintptr_t)room + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1)) +
           (2 << 20) - PAGES / 2 * PAGE;
    base -= base + PAGES * PAGE > room + (4 << 20) ? 2 << 20 : 0;
    memfd = (int)syscall(SYS_memfd_create, "model", 0);
    if (memfd < 0 || ftruncate(memfd, FILE_PAGES * PAGE) != 0) {
        return 2;
    }
    for (int i = 0; i < PAGES; i++) {
        model[i] = (struct page){NONE, -1, 0};
    }
    map_private(0, PAGES);
    int n = 0;
    for (; n < operations && !bad; n++) {
        bad = one_operation() || (n % 500 == 0 && check_all());
    }
    bad = bad || check_all();
    if (bad) {
        printf("FAIL: seed %s, operation %d\n", argc > 1 ? argv[1] : "1", n);
    } else {
        printf("good\n");
    }
    return bad;
}
