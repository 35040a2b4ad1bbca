/* What to tell a person of an error that the host's kernel gave. */
#ifndef HOST_LINUX_HOST_ERROR_H
#define HOST_LINUX_HOST_ERROR_H

/** The text of a positive errno, and the remedy where a limit of this process is the usual reason.
 *  Constant, or valid until the next call of strerror. */
const char *host_error(int err);

#endif
