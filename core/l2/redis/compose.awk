# compose.awk - one script as Redis gets it, of head.lua, cell.lua and NAME.lua (in this order): no comments, and where the line
# "---- cell.lua" stands those functions of cell.lua that are named in what follows, or in one of them.
function bare(line) { gsub(/^ +/, "", line); sub(/ -- .*$/, "", line); return line ~ /^--/ ? "" : line }
FNR == 1 { file++ }
file == 2 && /^local function / { split($3, part, "("); name[++n] = part[1] }
file == 2 && !/^--/ && n { body[n] = body[n] bare($0) "\n" }
file == 3 && /^---- cell\.lua$/ { is_behind = 1; next }
file != 2 { if (is_behind) behind = behind bare($0) "\n"; else before = before bare($0) "\n" }
END {
    named = behind
    for (i = n; i > 0; i--) # a function names only those above it
        if (named ~ ("(^|[^a-z_.])" name[i] "\\(")) { named = named body[i]; wanted[i] = 1 }
    for (i = 1; i <= n; i++)
        if (wanted[i]) before = before body[i]
    text = before behind
    gsub(/\n\n+/, "\n", text)
    sub(/^\n/, "", text)
    printf "%s", text
}
