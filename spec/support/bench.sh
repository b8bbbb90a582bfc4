#!/bin/sh
# Runs the benches of spec/bench one after another: the C ones from build/bench, the Lua ones under Lua 5.4, LuaJIT and
# LuaJIT with the JIT off, or under those that a line "-- under: lua5.4 luajit luajit-joff" in the file names.
# Arguments restrict it to the benches named (without ending). PEERS=folder is handed on.
set -u
cd "$(dirname "$0")/../.." || exit 2
eval "$(sh spec/support/env.sh build)"
bad=0

wanted() { case " ${only:-$1} " in *" $1 "*) return 0 ;; esac; return 1; }
run() {
    title=$1
    shift
    printf '\n== %s\n' "$title"
    "$@" </dev/null || { bad=$((bad + 1)); echo "FAILED: $title ended with code $?"; }
}

only=$*
printf 'on %s cores of %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -1)"
for src in spec/bench/*.c; do
    name=$(basename "$src" .c)
    if [ -f "$src" ] && wanted "$name"; then run "$name (C)" "build/bench/$name"; fi
done
for src in spec/bench/*.lua; do
    name=$(basename "$src" .lua)
    if [ ! -f "$src" ] || ! wanted "$name"; then continue; fi
    under=$(sed -n 's/^-- under: //p' "$src" | head -1)
    for lua in ${under:-lua5.4 luajit luajit-joff}; do
        case $lua in
        luajit-joff) run "$name (LuaJIT, JIT off)" luajit -joff "$src" ;;
        *) run "$name ($lua)" "$lua" "$src" ;;
        esac
    done
done
printf '\n%d benches failed\n' "$bad"
[ "$bad" -eq 0 ]
