/* Small things that the two sides of vm_dir.h share. Not for others. */
#ifndef CONTROL_VM_FILES_H
#define CONTROL_VM_FILES_H

#include "control/vm_dir.h"

#define FILE_PID "pid"
#define FILE_STATUS "status"
#define FILE_CONFIG "config.json"
#define FILE_CONTROL "control"
#define FILE_LOG "log"
#define FILE_OLD_LOG "log.1"
#define FILE_GROUP "group"

#define STATUS_FLEETING " !" /* in `status`, after the state */

#define HIDDEN_NEW ".new-" /* being filled */
#define HIDDEN_OLD ".old-" /* being removed */
#define HIDDEN_LEN 40u

/** Keep others from renaming in the base directory. 0 or -errno (-EBUSY: for seconds somebody else
 * has it). unlock takes what lock returned. */
int vm_base_lock(int base_fd) MUST_CHECK;
void vm_base_unlock(int base_fd);
/** A hidden name that nobody else uses: prefix, process id, random digits. */
void vm_hidden_name(char name[HIDDEN_LEN], const char *prefix);
/** Remove directory `name`, of which nothing but its name is trusted, with the files in it. 0 or
 * -errno. */
int vm_delete_tree(int base_fd, const char *name) MUST_CHECK;
/** Remove the control group that the file `group` of this directory names. */
void vm_delete_group(int dir_fd);

#endif
