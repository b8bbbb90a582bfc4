#!/bin/sh
# Runs the benches of spec/bench one after another: the C ones from build/bench, the Lua ones under Lua 5.4, LuaJIT and
# LuaJIT with the JIT off, or under those that a line "-- under: lua5.4 luajit luajit-joff" in the file names. Ends with
# one table of all rows that they gave (lines "@row<TAB>place<TAB>work ..."): a ratio is that of our figure to the peer's
# in the same round, except where reads of two threads are set against those of one.
# Arguments restrict it to the benches named (without ending). PEERS=folder is handed on; ROUNDS=n: rounds of the Lua ones;
# OUT=folder: what is measured was built there.
set -u
cd "$(dirname "$0")/../.." || exit 2
out=${OUT:-build}
eval "$(sh spec/support/env.sh "$out")"
bad=0
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
export TMPDIR="$folder" # what a bench that was interrupted leaves goes with it
trap 'exit 130' INT TERM

wanted() { case " ${only:-$1} " in *" $1 "*) return 0 ;; esac; return 1; }
run() {
    title=$1
    shift
    printf '\n== %s\n' "$title"
    "$@" </dev/null >"$folder/out" 2>&1 || { bad=$((bad + 1)); echo "FAILED: $title ended with code $?"; }
    grep -v '^@row' "$folder/out"
    grep '^@row' "$folder/out" | tee -a "$folder/rows" | cut -f 3- | sed 's/\t/ | /g'
}
table() {
    sort -t "$(printf '\t')" -k 2,2 "$folder/rows" | cut -f 3- | awk -F '\t' '
        BEGIN { n = split("work\tours\tpeer\tmin\tmedian\ttarget\treached", head, "\t"); for (i = 1; i <= n; i++) wide[i] = length(head[i]) }
        { for (i = 1; i <= n; i++) { cell[NR, i] = $i; if (length($i) > wide[i]) wide[i] = length($i) } }
        function line(row, i, s) { s = "|"; for (i = 1; i <= n; i++) s = s sprintf(" %-" wide[i] "s |", row ? cell[row, i] : head[i]); return s }
        END { s = line(0); print s; gsub(/[^|]/, "-", s); print s; for (r = 1; r <= NR; r++) print line(r) }'
}

only=$*
printf 'on %s cores of %s, load %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -1)" "$(cut -d' ' -f1 /proc/loadavg)"
for src in spec/bench/*.c; do
    name=$(basename "$src" .c)
    if [ -f "$src" ] && wanted "$name"; then run "$name (C)" "$out/bench/$name"; fi
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
if [ -s "$folder/rows" ]; then
    printf '\nRatios are ours to the peer in one round, the two measured in turn: the least and the median of the rounds.\n\n'
    table
fi
printf '\n%d benches failed\n' "$bad"
[ "$bad" -eq 0 ]
