#!/bin/sh
# Runs the suites one after another and adds up their tests; every suite speaks TAP, so the counts are those
# of the tests themselves. A suite that crashes, hangs, does not build or runs nothing is one failure more.
# The last line stands alone: "N passed, N failed".
#
#   run.sh test        what `make test` runs
#   run.sh quick       C specs of the release build, Lua specs under Lua 5.4
#   run.sh prove       what `make prove` runs (with LARDER_PROVE=1 for the full counts)
#   run.sh prove-1     the part of it that is about one process; prove-2: the part about the shared shelf (<= 60 min)
#   run.sh SUITE...    some of: c lua5.4 luajit luajit-reduced c-asan bugs installed c-tsan c-valgrind lua5.4-valgrind
#                      luajit-asan coverage without
#
# Specs under a slowing tool (TSan, valgrind, ASan in LuaJIT, coverage) run at the reduced counts.
set -u
cd "$(dirname "$0")/../.." || exit 2

: "${MAKE:=make}"
: "${SPEC_TIMEOUT:=$([ -n "${LARDER_PROVE-}" ] && echo 1200 || echo 180)}" # seconds for one spec file
: "${COVERAGE_FLOOR:=90}" # per cent of the lines of core/
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
    skipped=$(grep -ciE '^(not )?ok .*# skip' "$2")
    ok=$(($(grep -c '^ok ' "$2") - $(grep -ciE '^ok .*# skip' "$2")))
    bad=$(($(grep -c '^not ok ' "$2") - $(grep -ciE '^not ok .*# skip' "$2")))
    planned=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$2" | awk '{ n += $1 } END { print n + 0 }')
    ran=$((ok + bad + skipped))
    passed=$((passed + ok))
    failed=$((failed + bad))
    note=
    [ "$skipped" -gt 0 ] && note=", $skipped skipped"
    printf '  %-34s %5d passed, %d failed%s  (%s s)\n' "$1" "$ok" "$bad" "$note" "$4"
    [ "$bad" -eq 0 ] && [ -n "${LARDER_PROVE-}" ] && sed -n 's/^# /      /p' "$2" # its figures
    [ "$bad" -gt 0 ] && grep -A12 '^not ok ' "$2" | grep -v '^ok ' | head -80 | sed 's/^/    /'
    if [ "$3" -eq 124 ] || [ "$3" -eq 137 ]; then fail "$1: did not end in time; last lines:"
    elif [ "$3" -ne 0 ] && [ "$bad" -eq 0 ]; then fail "$1: ended with code $3 though no test failed; last lines:"
    elif [ "$ran" -eq 0 ]; then fail "$1: ran no test; last lines:"
    elif [ "$ran" -lt "$planned" ] || [ "$planned" -eq 0 ]; then fail "$1: ended early, $ran of $planned tests; last lines:"
    else return 0
    fi
    tail -25 "$2" | sed 's/^/    /'
}

# timed NAME LIMIT COMMAND...: runs one suite with a time limit, its words in a log of its own.
timed() {
    t_name=$1
    t_limit=$2
    shift 2
    t_log=$logs/$suite/$(printf '%s' "$t_name" | tr '/ ' '--').log
    t_from=$(date +%s)
    timeout -k 5 "$t_limit" "$@" >"$t_log" 2>&1 </dev/null
    counted "$t_name" "$t_log" $? $(($(date +%s) - t_from))
}

# The specs of the shared shelf.
shared='wire_* l2_* net_* bell_* hub_* leases_* resend_* tend_* listener_* breaker_* redis_bed_* capi_shared_* shared_* r*_shared_*
    fake_redis_* proxy_* namesakes_*'
part=
# Does the part that is run have this spec?
in_part() {
    [ -n "$part" ] || return 0
    is_shared=1
    set -f
    for p_pattern in $shared; do
        # shellcheck disable=SC2254
        case $1 in $p_pattern) is_shared=2 ;; esac
    done
    set +f
    [ "$part" = "$is_shared" ]
}

# c_specs OUT TOOL [VARIABLE=VALUE...]: builds the C specs and runs each, in front of it TOOL (may be empty).
c_specs() {
    c_out=$1
    c_tool=$2
    shift 2
    made "$logs/build-specs.log" specs "$@" || fail "C specs: the build failed"
    c_names=$("$MAKE" --no-print-directory -s spec-names "$@")
    [ -n "$c_names" ] || { fail "C specs: there are none"; return; }
    for c_name in $c_names; do
        in_part "$c_name" || continue
        if [ -x "$c_out/spec/$c_name" ]; then
            # shellcheck disable=SC2086
            CMOCKA_MESSAGE_OUTPUT=TAP timed "$c_name" "$SPEC_TIMEOUT" $c_tool "$c_out/spec/$c_name"
        else
            fail "$c_name: was not built"
        fi
    done
}

# lua_specs LUA OUT COMMAND [VARIABLE=VALUE...]: builds the modules and runs each Lua spec by COMMAND. Both modules: the
# specs of values run the other Lua, too.
lua_specs() {
    l_lua=$1
    l_out=$2
    l_command=$3
    shift 3
    # Examples and the command are run by specs, and some of them are C programs; they use the release build.
    [ "$l_out" = build ] || made "$logs/build-release.log" modules lib || fail "the release build failed"
    made "$logs/build-$l_lua.log" modules lib "$@" || { fail "the module for $l_lua: the build failed"; return; }
    set -- spec/*_spec.lua spec/race/*_spec.lua
    [ -f "$1" ] || { fail "Lua specs: there are none"; return; }
    eval "$(sh spec/support/env.sh "$l_out")"
    LARDER_LUA=$l_lua
    export LARDER_LUA
    for l_src in "$@"; do
        in_part "$(basename "$l_src")" || continue
        # shellcheck disable=SC2086
        timed "$(basename "$l_src" .lua) ($l_lua)" "$SPEC_TIMEOUT" \
            $l_command spec/support/busted.lua -o TAP --seed="$LARDER_SEED" "$l_src"
    done
}

# reduced COMMAND...: without the full counts.
reduced() (
    unset LARDER_PROVE
    "$@"
    printf '%d %d\n' "$passed" "$failed" >"$logs/counts"
)
# The line coverage of core/ by all C specs and the Lua specs under Lua 5.4.
coverage() {
    part= # all specs count
    find build/coverage -name '*.gcda' -exec rm -f {} + 2>/dev/null
    c_specs build/coverage "" COVERAGE=1
    lua_specs lua5.4 build/coverage lua5.4 COVERAGE=1
    find build/coverage/obj/core -name '*.gcno' -exec gcov -n {} + 2>/dev/null | sh spec/support/covered.sh >"$logs/coverage.log"
    sed 's/^/  /' "$logs/coverage.log"
    c_percent=$(sed -n 's/^core\/ in all *\([0-9]*\)\..*/\1/p' "$logs/coverage.log")
    if [ "${c_percent:-0}" -ge "$COVERAGE_FLOOR" ]; then passed=$((passed + 1))
    else fail "line coverage of core/ is below $COVERAGE_FLOOR %"
    fi
}

# TSan does not know every layout of a newer kernel's memory.
fixed_addresses=$(setarch -R true 2>/dev/null && echo 'setarch -R')
memcheck='valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --keep-debuginfo=yes --num-callers=20'

suite() {
    suite=$1
    mkdir -p "$logs/$suite"
    case $1 in
    c)
        section "C specs, release build"
        c_specs build ""
        ;;
    lua5.4 | luajit)
        section "Lua specs under $1"
        lua_specs "$1" build "$1"
        ;;
    variant)
        section "C specs in $VARIANT_OUT"
        c_specs "$VARIANT_OUT" ""
        ;;
    c-asan)
        section "C specs under ASan and UBSan"
        c_specs build/address-undefined "" SAN=address,undefined
        ;;
    c-tsan)
        section "C specs under TSan"
        reduced c_specs build/thread "$fixed_addresses" SAN=thread
        ;;
    c-valgrind)
        section "C specs under valgrind"
        reduced c_specs build "$memcheck"
        ;;
    lua5.4-valgrind)
        section "Lua specs under Lua 5.4 and valgrind"
        reduced lua_specs lua5.4 build "$memcheck lua5.4"
        ;;
    luajit-asan)
        section "Lua specs under LuaJIT with the JIT off, the module built with ASan"
        l_asan=$(gcc -print-file-name=libasan.so)
        # LuaJIT, and the compilers and tools that specs start, leave memory to the end of the process.
        reduced lua_specs luajit build/address "env LD_PRELOAD=$l_asan ASAN_OPTIONS=detect_leaks=0 luajit -joff" SAN=address
        ;;
    coverage)
        section "Line coverage"
        reduced coverage
        ;;
    installed)
        section "What is installed"
        timed "installed" 600 sh spec/support/installed.sh
        ;;
    luajit-reduced)
        section "Lua specs under luajit, reduced counts"
        reduced lua_specs luajit build luajit
        ;;
    without)
        section "Builds with a part left out"
        for w in SQLITE ZSTD JSON REDIS; do
            if made "$logs/$suite/$w.log" lib modules "WITH_$w=0"; then
                passed=$((passed + 1))
                echo "  WITH_$w=0 builds and links"
            else
                fail "WITH_$w=0 does not build"
            fi
        done
        ;;
    bugs)
        section "Seeded bugs"
        made "$logs/build-bugs.log" lib modules specs || fail "seeded bugs: the build failed"
        timed "seeded bugs" 1200 "$MAKE" --no-print-directory -s bugs
        grep '^ok ' "$logs/bugs/seeded-bugs.log" | sed 's/^ok [0-9]* - /    /'
        ;;
    *) fail "no such suite: $1" ;;
    esac
    [ ! -f "$logs/counts" ] || { read -r passed failed <"$logs/counts"; rm -f "$logs/counts"; }
}

mkdir -p "$logs"
rm -f "$logs/counts"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
[ $# -gt 0 ] || set -- test
case $1 in
test) set -- c lua5.4 luajit c-asan installed bugs ;;
quick) set -- c lua5.4 ;;
prove) set -- c lua5.4 luajit c-asan c-tsan c-valgrind lua5.4-valgrind luajit-asan coverage bugs installed without ;;
prove-1) part=1; set -- c lua5.4 luajit c-asan c-tsan c-valgrind lua5.4-valgrind luajit-asan coverage bugs installed without ;;
# What is counted between processes has both Luas in it already.
prove-2) part=2; set -- c lua5.4 luajit-reduced c-asan c-tsan luajit-asan bugs ;;
esac
started=$(date +%s)
printf 'seed %s (LARDER_SEED=%s repeats it)\n' "$LARDER_SEED" "$LARDER_SEED"
for s in "$@"; do suite "$s"; done
printf '\n%s s%s\n' $(($(date +%s) - started)) "${LARDER_PROVE:+, full counts}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
