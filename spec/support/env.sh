#!/bin/sh
# Prints the lines that make this checkout usable from any folder, safe for eval:
#   eval "$(make -s env)"
# The argument is the build folder (build, or that of a variant).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-build}

quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
line() { printf 'export %s=%s\n' "$1" "$(quoted "$2")"; }

lua="$root/lua/?.lua;$root/lua/?/init.lua;;"
line LUA_PATH_5_4 "$lua"
line LUA_CPATH_5_4 "$root/$out/lua5.4/?.so;;"
line LUA_PATH "$lua"
line LUA_CPATH "$root/$out/luajit/?.so;;"
printf 'export PATH=%s:"$PATH"\n' "$(quoted "$root/lua/bin")"
