#!/bin/sh
# Reads what `gcov -n` says and prints the line coverage of every source of core/, the lowest first, and of all.
awk '
/^File / { file = $0; gsub(/^File .|.$/, "", file); sub(/^.*\/core\//, "core/", file); next }
/^Lines executed:/ && file ~ /^core\/.*\.c$/ {
    split($0, part, /[:% ]+/)
    if (!(file in lines)) {
        lines[file] = part[5]
        hit[file] = part[3] * part[5] / 100
    }
    file = ""
}
/^$/ { file = "" }
END {
    for (f in lines) {
        all += lines[f]; got += hit[f]
        printf "%-40s %6.1f %% of %d lines\n", f, 100 * hit[f] / lines[f], lines[f] | "sort -k2n"
    }
    close("sort -k2n")
    printf "%-40s %6.1f %% of %d lines\n", "core/ in all", all ? 100 * got / all : 0, all
}'
