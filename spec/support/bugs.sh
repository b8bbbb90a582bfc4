#!/bin/sh
# Shows that the suite catches what it says it catches. spec/bugs.list has a line for each seeded bug:
#
#   NAME  WHAT
#
# WHAT is the name of a C spec, or `lua5.4 spec/x_spec.lua`, or `luajit spec/x_spec.lua`. The sources that know
# the switch LDR_BUG_NAME are compiled with it and put before the healthy library: then the named spec must turn
# red. A bug that its spec does not notice is a failure here. Speaks TAP. `make bugs` calls it with CC, FLAGS, LIBS,
# LUA54_FLAGS and LUAJIT_FLAGS set (OUT: the build folder); arguments restrict it to the bugs named.
#
# A spec that starts a Redis is red, too, where none can be started: such a spec is run healthy first, once, and must be green.
#
# One worker a processor takes every so-manieth line (BUG_WORKERS: so many; BUG_WORKER: which one this is).
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUG_TIMEOUT:=60}" "${OUT:=build}" "${BUGS_LIST:=spec/bugs.list}"
: "${BUG_WORKERS:=$(nproc 2>/dev/null || echo 1)}" "${BUG_WORKER:=}"
n=0
green= # specs that were run healthy

say() {
    n=$((n + 1))
    printf '%s %d - bug %s: %s\n' "$1" "$n" "$2" "$3"
}

# Compiles into the folder $1 every source of $2... that knows the switch; the objects' names go to $objects.
seeded() {
    s_dir=$1
    shift
    for s_src in $(grep -lw "LDR_BUG_$bug" "$@" 2>/dev/null); do
        s_o=$s_dir/$(printf '%s' "$s_src" | tr '/' '-').o
        # shellcheck disable=SC2086
        $CC $FLAGS ${s_flags-} "-DLDR_BUG_$bug" -c "$s_src" -o "$s_o" || return 1
        objects="$objects $s_o"
    done
}

# The spec under the bug: sets $code; words go to $dir/log.
c_spec() {
    objects=
    seeded "$dir" $(find core -name '*.c') || return 1
    [ -n "$objects" ] || { echo "no C source of core/ knows LDR_BUG_$bug" >"$dir/log"; return 1; }
    $CC -o "$dir/spec" $objects "$OUT/obj/spec/core/$1.o" "$OUT/spec/libhelp.a" "$OUT/liblarder.a" -lcmocka $LIBS || return 1
    CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$BUG_TIMEOUT" "$dir/spec" >"$dir/log" 2>&1 </dev/null
    code=$?
}

lua_spec() {
    case $1 in
    lua5.4) s_flags=$LUA54_FLAGS; s_env=LUA_CPATH_5_4 ;;
    *) s_flags=$LUAJIT_FLAGS; s_env=LUA_CPATH ;;
    esac
    objects=
    seeded "$dir" $(find core lua/bind -name '*.c') || return 1
    [ -n "$objects" ] || { echo "no C source knows LDR_BUG_$bug" >"$dir/log"; return 1; }
    mkdir -p "$dir/larder"
    l_rest=
    for l_o in "$OUT/obj/$1"/lua/bind/*.o; do
        [ -f "$dir/lua-bind-$(basename "$l_o" .o).c.o" ] || l_rest="$l_rest $l_o"
    done
    $CC -shared -Wl,--version-script="$OUT/module.map" -o "$dir/larder/core.so" $objects $l_rest "$OUT/liblarder.a" $LIBS || return 1
    eval "$(sh spec/support/env.sh "$OUT")"
    env "$s_env=$PWD/$dir/?.so;;" timeout -k 5 "$BUG_TIMEOUT" "$1" spec/support/busted.lua -o TAP "$2" >"$dir/log" 2>&1 </dev/null
    code=$?
}

# Does the spec, WHAT of the list, start a Redis? Looks into its source and what that requires of the bed.
wants_redis() {
    case $1 in
    lua5.4 | luajit) w_src=$2 ;;
    *) w_src=spec/core/$1.c ;;
    esac
    w_more=$(sed -n 's/.*require[ (]*"\(spec\.support\.[a-z0-9_.]*\)".*/\1/p' "$w_src" | tr . / | sed 's/$/.lua/')
    # shellcheck disable=SC2086
    grep -qE 'redis-server|redis_bed|l2_bed|support\.(redis|shared)' "$w_src" $w_more 2>/dev/null
}

# The healthy run of a spec that wants a Redis; its words go to $dir/healthy.
healthy() {
    wants_redis "$@" || return 0
    case " $green " in *" $*, "*) return 0 ;; esac
    case $1 in
    lua5.4 | luajit)
        eval "$(sh spec/support/env.sh "$OUT")"
        set -- "$1" "$2" "$1" spec/support/busted.lua -o TAP "$2"
        ;;
    *) set -- "$1" "" "$OUT/spec/$1" ;;
    esac
    h_name="$1${2:+ $2}"
    shift 2
    CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$BUG_TIMEOUT" "$@" >"$dir/healthy" 2>&1 </dev/null || return 1
    ! grep -q '^not ok ' "$dir/healthy" || return 1
    green="$green $h_name, "
}

one() {
    bug=$1
    dir=build/bugs/$1.$row
    s_flags=
    rm -rf "$dir"
    mkdir -p "$dir"
    # shellcheck disable=SC2086
    healthy $2 $3 || { say 'not ok' "$bug" "$2 $3 is red without it, too"; grep -A8 '^not ok ' "$dir/healthy" | head -20 | sed 's/^/# /'; return; }
    case $2 in
    lua5.4 | luajit) ran="$2 $3"; lua_spec "$2" "$3" ;;
    *) ran=$2; c_spec "$2" ;;
    esac >"$dir/build" 2>&1 || { say 'not ok' "$bug" "could not be built"; cat "$dir/build" "$dir/log" 2>/dev/null | head -20 | sed 's/^/# /'; return; }
    reds=$(grep -c '^not ok ' "$dir/log")
    if [ "$reds" -gt 0 ]; then say ok "$bug" "caught by $ran ($reds red)"
    elif [ "$code" -ne 0 ]; then say ok "$bug" "caught by $ran (ended with code $code)"
    else say 'not ok' "$bug" "$ran stayed green"
    fi
}

[ -f "$BUGS_LIST" ] || { say ok none "there is no $BUGS_LIST yet # SKIP"; echo 1..1; exit 0; }
if [ -z "$BUG_WORKER" ]; then
    mkdir -p build/bugs
    export BUG_WORKERS BUG_WORKER
    for BUG_WORKER in $(seq "$BUG_WORKERS"); do
        sh spec/support/bugs.sh "$@" >"build/bugs/worker.$BUG_WORKER" 2>&1 &
    done
    wait
    cat build/bugs/worker.* | awk '/^1\.\./ { next } /^(not )?ok / { sub(/ok [0-9]+/, "ok " ++n) } { print } END { print "1.." n }'
    exit 0
fi
row=0
while read -r name what spec; do
    case $name in '' | '#'*) continue ;; esac
    row=$((row + 1))
    [ $((row % BUG_WORKERS + 1)) -eq "$BUG_WORKER" ] || continue
    case " ${*:-$name} " in *" $name "*) one "$name" "$what" "$spec" ;; esac
done <"$BUGS_LIST"
printf '1..%d\n' "$n"
