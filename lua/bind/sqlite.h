/* sqlite.h - a small SQLite binding for examples, specs and tools; larder.sqlite documents it. */
#ifndef LDR_BIND_SQLITE_H
#define LDR_BIND_SQLITE_H

#include "bind/compat.h"

/* Adds sqlite(file [, options]) -> database | nil, message to the module on top of the stack. */
void ldr_lua_sqlite_register(lua_State *L);
/* Adds migrate(options) -> sql | nil, code, message to the module on top of the stack. */
void ldr_lua_migrate_register(lua_State *L);

#endif
