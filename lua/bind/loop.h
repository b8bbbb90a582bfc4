/* loop.h - larder.loop: the mailbox of one Lua state as a userdata. */
#ifndef LDR_BIND_LOOP_H
#define LDR_BIND_LOOP_H

#include "bind/compat.h"
#include "net/loop.h"

/* The mailbox in the userdata at idx; raises when it is none or was closed. It lives as long as the userdata. */
ldr_loop *ldr_lua_loop(lua_State *L, int idx);

/* { new = function() -> loop }: a loop has wait, post, fd, close. */
__attribute__((visibility("default"))) int luaopen_larder_loop(lua_State *L);

#endif
