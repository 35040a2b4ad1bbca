/* A place among the control groups that systemd has handed to the user.
 *
 *   user.slice/user-UID.slice          root's
 *    ├─ session-N.scope                root's; what logged in, by ssh or on a terminal, is here
 *    └─ user@UID.service               the user's, with the cpu controller (systemd 252 and later)
 *
 * From a session nobody but root can move a process to the user's part: they have no ancestor in
 * common that is the user's ("Delegation Containment"). systemd does it when it is asked, over
 * D-Bus (org.freedesktop.systemd1(5), StartTransientUnit: a scope), which is left to its own
 * busctl.
 *
 * What is in the user's part ends when the user's manager does: with the last session, unless the
 * user "lingers" (loginctl enable-linger). A machine that would outlive its session as it is must
 * not be lost for a share of the processor: only for users who linger it is moved.
 */
#ifndef HOST_LINUX_USER_SCOPE_H
#define HOST_LINUX_USER_SCOPE_H

#include "base/types.h"

/** Whether systemd runs a manager for this user that has the cpu controller, and can be asked. */
bool user_scope_exists(void);
/** Have this process moved to a scope of its own, if the user lingers. Takes some ten milliseconds,
 * at most a few seconds. Of a process with one thread. False: it is where it was. */
bool user_scope_enter(const char *name);

#endif
