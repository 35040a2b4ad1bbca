/* Who uses an image: two that would spoil it for each other cannot open it at once.
 *
 * The lock is the kernel's (an open file description lock over the whole file), so it ends with the
 * process that holds it, however that ends. Beside it the holder keeps a note with its name, only
 * so that the other's message can tell who is in the way: a small file, locked as long as it is
 * true, in the runtime directory. Where no note can be kept the lock holds all the same.
 */
#ifndef BLOCK_LOCK_H
#define BLOCK_LOCK_H

#include "block/block.h"

struct image_lock {
    int note;      /* file descriptor of the note, -1: none */
    char name[80]; /* of its file */
};

/** Lock the file fd (opened for writing when `write`): many readers, or one writer. path is for
 * messages. The lock lasts as long as fd is open here or in a child. vm_name may be NULL. 0, or -1
 * with *err, which names the holder where it can. */
int lock_take(struct image_lock *l, int fd, const char *path, bool write, const char *vm_name,
              struct block_error *err) MUST_CHECK;
/** Remove the note. The lock itself goes when fd is closed: close that first. */
void lock_drop(struct image_lock *l);
/** Remove the notes of processes that are gone: of a jailed monitor, which could not do it itself.
 */
void lock_sweep(void);

#endif
