#!/bin/sh
# Runs the suites one after another and adds up their tests; every suite speaks TAP, so the counts are those
# of the tests themselves. A suite that crashes, hangs, does not build or runs nothing is one failure more.
# The last line stands alone: "N passed, N failed".
#
#   run.sh test        everything `make test` promises
#   run.sh quick       C specs of the release build, Lua specs under Lua 5.4
#   run.sh SUITE...    some of: c lua5.4 luajit c-asan bugs
set -u
cd "$(dirname "$0")/../.." || exit 2

: "${MAKE:=make}"
: "${SPEC_TIMEOUT:=180}"   # seconds for one C spec
: "${LUA_TIMEOUT:=420}"    # seconds for all Lua specs under one Lua
LARDER_SEED=${LARDER_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
export LARDER_SEED
logs=build/log
passed=0
failed=0
jobs=$(nproc 2>/dev/null || echo 2)

section() { printf '\n== %s\n' "$1"; }

# made LOG TARGET [VARIABLE=VALUE...]: builds quietly; what went wrong is shown.
made() {
    made_log=$1
    shift
    if "$MAKE" --no-print-directory -j"$jobs" -k "$@" >"$made_log" 2>&1; then
        grep 'LEFT OUT\|warning:' "$made_log"
        return 0
    fi
    grep -v '^  \(CC\|AR\|LD\) ' "$made_log" | tail -40
    return 1
}

fail() {
    failed=$((failed + 1))
    printf '  FAILED  %s\n' "$*"
}

# counted NAME LOG CODE SECONDS: adds a finished suite's TAP lines up and shows what went wrong.
counted() {
    ok=$(grep -c '^ok ' "$2")
    skipped=$(grep -ci '^ok .*# skip' "$2")
    bad=$(grep -c '^not ok ' "$2")
    passed=$((passed + ok - skipped))
    failed=$((failed + bad))
    note=
    [ "$skipped" -gt 0 ] && note=", $skipped skipped"
    printf '  %-34s %5d passed, %d failed%s  (%s s)\n' "$1" $((ok - skipped)) "$bad" "$note" "$4"
    [ "$bad" -gt 0 ] && grep -A12 '^not ok ' "$2" | grep -v '^ok ' | head -80 | sed 's/^/    /'
    if [ "$3" -eq 124 ] || [ "$3" -eq 137 ]; then
        fail "$1: did not end in time; last lines:"
    elif [ "$3" -ne 0 ] && [ "$bad" -eq 0 ]; then
        fail "$1: ended with code $3 though no test failed; last lines:"
    elif [ "$ok" -eq 0 ] && [ "$bad" -eq 0 ]; then
        fail "$1: ran no test; last lines:"
    else
        return 0
    fi
    tail -15 "$2" | sed 's/^/    /'
}

# timed NAME LIMIT COMMAND...: runs one suite with a time limit, its words in a log of its own.
timed() {
    t_name=$1
    t_limit=$2
    shift 2
    t_log=$logs/$(printf '%s' "$t_name" | tr '/ ' '--').log
    t_from=$(date +%s)
    timeout -k 5 "$t_limit" "$@" >"$t_log" 2>&1 </dev/null
    counted "$t_name" "$t_log" $? $(($(date +%s) - t_from))
}

# c_specs OUT TITLE [VARIABLE=VALUE...]
c_specs() {
    c_out=$1
    section "$2"
    shift 2
    made "$logs/build-specs.log" specs "$@" || fail "C specs: the build failed"
    c_any=
    for c_src in spec/core/*_spec.c; do
        c_name=$(basename "$c_src" .c)
        c_any=$c_any.
        if [ -x "$c_out/spec/$c_name" ]; then
            CMOCKA_MESSAGE_OUTPUT=TAP timed "$c_name" "$SPEC_TIMEOUT" "$c_out/spec/$c_name"
        else
            fail "$c_name: was not built"
        fi
    done
    [ -n "$c_any" ] || fail "C specs: there are none"
}

# lua_specs LUA TARGET
lua_specs() {
    section "Lua specs under $1"
    made "$logs/build-$1.log" "$2" || { fail "the module for $1: the build failed"; return; }
    ls spec/*_spec.lua >/dev/null 2>&1 || { fail "Lua specs: there are none"; return; }
    eval "$("$MAKE" -s env)"
    for l_src in spec/*_spec.lua; do
        timed "$(basename "$l_src" .lua) ($1)" "$LUA_TIMEOUT" \
            "$1" spec/support/busted.lua -o TAP --seed="$LARDER_SEED" "$l_src"
    done
}

suite() {
    case $1 in
    c) c_specs build "C specs, release build" ;;
    c-asan)
        ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}
        UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
        export ASAN_OPTIONS UBSAN_OPTIONS
        c_specs build/address-undefined "C specs under ASan and UBSan" SAN=address,undefined
        ;;
    lua5.4) lua_specs lua5.4 module-5.4 ;;
    luajit) lua_specs luajit module-luajit ;;
    *) fail "no such suite: $1" ;;
    esac
}

mkdir -p "$logs"
[ $# -gt 0 ] || set -- test
case $1 in
test) set -- c lua5.4 luajit c-asan ;;
quick) set -- c lua5.4 ;;
esac
printf 'seed %s (LARDER_SEED=%s repeats it)\n' "$LARDER_SEED" "$LARDER_SEED"
for s in "$@"; do suite "$s"; done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
