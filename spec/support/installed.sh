#!/bin/sh
# Shows that what is installed works away from the checkout: `make install` into a folder of its own, then Lua 5.4,
# LuaJIT, the command and a C program use it, and `make uninstall` leaves no file behind; the same by luarocks, where
# it is there. Speaks TAP.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${MAKE:=make}"
home=$(mktemp -d "${TMPDIR:-/tmp}/larder-installed.XXXXXX") || exit 2
trap 'rm -rf "$home"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
prefix=$home/usr
n=0
unset LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4 LARDER_LUA MAKEFLAGS MAKELEVEL

# try TITLE COMMAND...: one test, run from another folder.
try() {
    n=$((n + 1))
    t_title=$1
    shift
    if (cd / && "$@") >"$home/log" 2>&1 </dev/null; then
        echo "ok $n - $t_title"
    else
        echo "not ok $n - $t_title"
        tail -15 "$home/log" | sed 's/^/# /'
    fi
}

hello='local larder = require "larder"; local c = larder.open{}; assert(c:set("k", "v")); assert(c:get("k") == "v"); c:close()'
in_lua54() { LUA_PATH_5_4="$1/share/lua/5.4/?.lua;$1/share/lua/5.4/?/init.lua;;" LUA_CPATH_5_4="$1/lib/lua/5.4/?.so;;" lua5.4 -e "$hello"; }
in_luajit() { LUA_PATH="$1/share/lua/5.1/?.lua;$1/share/lua/5.1/?/init.lua;;" LUA_CPATH="$1/lib/lua/5.1/?.so;;" luajit -e "$hello"; }
in_c() {
    printf '#include <larder.h>\nint main(void) { return ldr_strerror(LDR_TIMEOUT)[0] == 0; }\n' >"$home/p.c"
    flags=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs larder) &&
        gcc -std=c11 -Wall -Werror "$home/p.c" -o "$home/p" $flags && LD_LIBRARY_PATH=$prefix/lib "$home/p"
}
command_helps() { "$1/bin/larder" --help | grep -q demo; }
nothing_left() { [ -z "$(find "$prefix" ! -type d)" ] || { find "$prefix" ! -type d; return 1; }; }
soname() { objdump -p "$prefix/lib/liblarder.so" | grep -q 'SONAME *liblarder\.so\.0$'; }
rock() { cd "$here" && luarocks --lua-version 5.4 --tree "$home/tree" make rockspec/larder-0.1.0-1.rockspec; }
here=$PWD

try 'make install' "$MAKE" -C "$here" -s install PREFIX="$prefix" DESTDIR=
try 'Lua 5.4 uses what is installed' in_lua54 "$prefix"
try 'LuaJIT uses what is installed' in_luajit "$prefix"
try 'the command runs from where it is installed' command_helps "$prefix"
try 'a C program is built by pkg-config and runs' in_c
try 'the library has its soname' soname
try 'make uninstall' "$MAKE" -C "$here" -s uninstall PREFIX="$prefix" DESTDIR=
try 'nothing is left behind' nothing_left
if command -v luarocks >/dev/null 2>&1; then
    try 'luarocks make' rock
    try 'Lua 5.4 uses the rock' in_lua54 "$home/tree"
    try 'the command of the rock runs' command_helps "$home/tree"
else
    n=$((n + 1))
    echo "ok $n - # SKIP luarocks is not installed"
fi
echo "1..$n"
