/* io.h - the few calls on a connected socket that all of net shares. None blocks but ldr_io_wait; SIGPIPE is not raised. */
#ifndef LDR_NET_IO_H
#define LDR_NET_IO_H

#include "base/slice.h"
#include "larder.h"
#include <stdint.h>

#define LDR_IO_BLOCKED (-1) /* nothing can be moved now */
#define LDR_IO_FAILED (-2)  /* errno says why */

#define LDR_IO_BYTES 32768 /* read at once */

long ldr_io_send(int fd, ldr_slice bytes);              /* bytes taken, or LDR_IO_* */
long ldr_io_receive(int fd, char *to, size_t n);        /* bytes got, 0: the peer closed, or LDR_IO_* */
short ldr_io_wait(int fd, short events, int64_t for_us); /* what came of them; 0: the time passed, or a signal came. -1: no fd,
                                                            for_us below 0: no limit */
bool ldr_io_is_quiet(int fd); /* an idle connection: not closed by the peer, and nothing came */
int ldr_io_fail(ldr_err *err, const char *name, int why); /* LDR_UNAVAILABLE: the server's name, errno's words, what to do */

#endif
