/* Making and dropping the memory that a machine's processes share. */
#include "host/linux/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(sizeof(struct arena) < ARENA_SIZE / 2,
               "the arena holds its fixed part and some vCPUs");

/* This process's own copy of what describes RAM: the one in the arena is the vCPU tasks' to spoil. */
static struct ram own_ram;

const struct ram *arena_ram(void)
{
    return &own_ram;
}

/* A memory object of size bytes, mapped at addr. Returns its descriptor, or -errno. */
static int map_object(const char *name, uint64_t addr, uint64_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int err = 0;
    void *at = (void *)addr;
    if (ftruncate(fd, (off_t)size) != 0) {
        err = -errno;
    } else if (mmap(at, size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0) != at) {
        err = errno ? -errno : -EEXIST;
    }
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int arena_create(uint64_t ram_size)
{
    int fd = map_object("ring3-arena", ARENA_ADDR, ARENA_SIZE);
    if (fd < 0) {
        return fd;
    }
    close(fd); /* the mapping keeps it */
    int ram_fd = map_object("ring3-ram", RAM_ADDR, ram_size);
    if (ram_fd < 0) {
        munmap((void *)ARENA_ADDR, ARENA_SIZE);
        return ram_fd;
    }
    ARENA->used = align_up(sizeof(struct arena), 64);
    own_ram = (struct ram){.base = (uint8_t *)RAM_ADDR, .size = ram_size, .fd = ram_fd};
    ARENA->vm.ram = own_ram;
    return 0;
}

void arena_destroy(void)
{
    close(own_ram.fd);
    munmap(own_ram.base, own_ram.size);
    munmap((void *)ARENA_ADDR, ARENA_SIZE);
}

void *arena_alloc(size_t size)
{
    uint64_t start = ARENA->used;
    if (size > ARENA_SIZE - start) {
        return NULL;
    }
    ARENA->used = align_up(start + size, 64);
    return (uint8_t *)ARENA + start;
}
