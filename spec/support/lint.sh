#!/bin/sh
# Looks the sources over: two compilers without warnings, luacheck, and the rules of the house (lint.lua).
# `make lint` calls it with CC_FLAGS, LUA54_FLAGS and LUAJIT_FLAGS set and everything built. Ends with 1 when
# something was found; every check is made in any case.
set -u
cd "$(dirname "$0")/../.." || exit 2
found=0
jobs=$(nproc 2>/dev/null || echo 2)

check() {
    title=$1
    shift
    if "$@" >build/lint.log 2>&1; then
        printf 'ok      %s\n' "$title"
    else
        found=$((found + 1))
        printf 'FOUND   %s\n' "$title"
        head -60 build/lint.log | sed 's/^/        /'
    fi
    grep '^note: ' build/lint.log | sed 's/^/        /'
    return 0
}

# compile COMPILER FLAGS FILE...: the compiler's words and a failure when one file does not pass.
compile() {
    compiler=$1
    flags=$2
    shift 2
    [ $# -gt 0 ] || return 0
    # shellcheck disable=SC2086
    printf '%s\n' "$@" | xargs -P "$jobs" -n 1 $compiler $CC_FLAGS $flags
}

core_c=$(find core -name '*.c' | sort)
bind_c=$(find lua/bind -name '*.c' | sort)
spec_c=$(find spec/core spec/bench examples -name '*.c' 2>/dev/null | sort)

# gcc sees some faults only while it optimises, so it compiles; clang's own come from reading.
for pair in 'gcc:-O2 -c -o /dev/null' 'clang:-fsyntax-only'; do
    name=${pair%%:*}
    how=${pair#*:}
    # shellcheck disable=SC2086
    {
        check "$name: core" compile "$name" "$how" $core_c
        check "$name: binding for Lua 5.4" compile "$name" "$how -Ilua $LUA54_FLAGS" $bind_c
        check "$name: binding for LuaJIT" compile "$name" "$how -Ilua $LUAJIT_FLAGS" $bind_c
        check "$name: specs, benches, examples" compile "$name" "$how -Ispec/core" $spec_c
    }
done

check 'luacheck' luacheck -q --no-color lua spec examples

# exported PATTERN FILE...: nothing but names that match is exported, and something is.
exported() {
    pattern=$1
    shift
    for so in "$@"; do
        [ -f "$so" ] || { echo "$so: was not built"; return 1; }
        names=$(nm -D --defined-only "$so" | awk '{ print $3 }')
        strangers=$(printf '%s\n' "$names" | grep -vE "$pattern")
        [ -z "$strangers" ] || { echo "$so exports:" $strangers; return 1; }
        printf '%s\n' "$names" | grep -qE "$pattern" || { echo "$so exports nothing"; return 1; }
    done
}
check 'liblarder.so exports ldr_* only' exported '^ldr_' build/liblarder.so
check 'the modules export luaopen_larder_core only' exported '^luaopen_larder_core$' build/lua5.4/larder/core.so build/luajit/larder/core.so

by_broad_name() { ! grep -rnE '\b(p[k]ill|k[i]llall)\b' spec examples Makefile .ci; }
check 'nothing is ended by a broad name' by_broad_name

eval "$(sh spec/support/env.sh build)"
for rule in rooms sizes comments header bugs docs; do
    check "$(lua5.4 spec/support/lint.lua "$rule" title)" lua5.4 spec/support/lint.lua "$rule"
done

if [ "$found" -eq 0 ]; then echo 'lint: nothing found'; else echo "lint: $found checks found something"; fi
[ "$found" -eq 0 ]
