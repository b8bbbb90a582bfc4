-- From a checkout: luarocks make rockspec/larder-0.1.0-1.rockspec
-- The libraries that the Makefile asks pkg-config for must be there: msgpack-c, xxHash, SQLite, zstd, jansson, hiredis.
rockspec_format = "3.0"
package = "larder"
version = "0.1.0-1"
source = { url = "git+file://." }
description = {
   summary = "A cache in front of a database",
   detailed = "Read and write patterns, one load at a time, bounded memory; the work is done in C.",
   license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4" }
build = {
   type = "make",
   build_target = "module-5.4",
   build_variables = { CFLAGS = "$(CFLAGS)", LUA_INCDIR = "$(LUA_INCDIR)", OUT = "build/rock" },
   install_target = "install-rock",
   install_variables = {
      OUT = "build/rock", LUA_INCDIR = "$(LUA_INCDIR)", CFLAGS = "$(CFLAGS)",
      LUADIR = "$(LUADIR)", LIBDIR = "$(LIBDIR)", BINDIR = "$(BINDIR)",
   },
}
