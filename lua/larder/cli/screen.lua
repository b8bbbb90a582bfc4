-- screen.lua - the demo's last screen: a table of patterns, and a plot of the hit rate or what the shared tier did,
-- within 24 lines of 80 columns.

local terminal = require "larder.cli.terminal"

local screen = {}

-- 95607 as 95,607
local function grouped(n)
    local text = ("%d"):format(n)
    local rest = #text % 3
    local parts = text:sub(1, rest) .. text:sub(rest + 1):gsub("%d%d%d", ",%0")
    return (parts:gsub("^,", ""))
end
screen.grouped = grouped

local function microseconds(s)
    return ("%.1f us"):format(s * 1e6)
end

local function percent(share)
    return ("%.1f %%"):format(share * 100)
end

local HEAD = { "", "hit rate", "queries", "saved", "p50 read", "p99 read", "oldest", "wrong" }
local WIDTHS = { -14, 9, 9, 8, 11, 11, 8, 8 }

local function row(cells, widths)
    local out = {}
    for i, cell in ipairs(cells) do
        out[i] = ("%" .. (widths or WIDTHS)[i] .. "s"):format(cell)
    end
    return table.concat(out)
end

local function cells_of(run)
    local cached = run.pattern ~= "no cache"
    return { run.pattern, cached and percent(run.hit_rate) or "-", grouped(run.queries),
        cached and percent(run.saved) or "-", microseconds(run.p50_seconds), microseconds(run.p99_seconds),
        ("%.2f s"):format(run.oldest_seconds), grouped(run.violations) }
end

---- the plot --------------------------------------------------------------------------------------------------------

local ROWS = 6
local BLOCKS = { " ", "\226\150\129", "\226\150\130", "\226\150\131", "\226\150\132", "\226\150\133", "\226\150\134",
    "\226\150\135", "\226\150\136" }
local ASCII = { " ", " ", ".", ".", ":", ":", "|", "|", "#" }

-- One character: how much of the row (ROWS is the top one) the share fills.
local function cell(share, at, set)
    local eighths = math.floor(share * ROWS * 8 + 0.5) - (at - 1) * 8
    return set[math.max(0, math.min(8, eighths)) + 1]
end

-- Lines of a plot of shares (0 to 1), the highest first.
function screen.plot(shares, blocks)
    local set, lines = blocks and BLOCKS or ASCII, {}
    for at = ROWS, 1, -1 do
        local cells = {}
        for i, share in ipairs(shares) do
            cells[i] = cell(share, at, set)
        end
        local label = at == ROWS and "100 %" or at == ROWS / 2 and " 50 %" or at == 1 and "  0 %" or "     "
        lines[#lines + 1] = " " .. label .. " |" .. table.concat(cells)
    end
    return lines
end

---- the shared tier -------------------------------------------------------------------------------------------------

local TIER_WIDTHS = { -14, 9, 9, 11, 11 }

local function tier_row(name, tier)
    return row({ name, grouped(tier.answers), percent(tier.share), microseconds(tier.p50_seconds),
        microseconds(tier.p99_seconds) }, TIER_WIDTHS)
end

-- Lines of what two processes over one Redis did.
local function shared_lines(shared)
    local s = shared.stats
    return {
        ("Two processes, each with an L1, over %s"):format(shared.server:sub(1, 42)),
        row({ "", "answers", "share", "p50 read", "p99 read" }, TIER_WIDTHS),
        tier_row("L1", shared.l1),
        tier_row("Redis", shared.l2),
        tier_row("the table", shared.source),
        ("Leases %s, waited for by the other %s; refused fills %s"):format(grouped(s.leases),
            grouped(s.lease_waits), grouped(s.refused)),
        ("Messages heard %s, missed %s; connections lost %s"):format(grouped(s.bell_heard), grouped(s.bell_gaps),
            grouped(s.reconnects)),
    }
end

---- the whole -------------------------------------------------------------------------------------------------------

local function heading(report)
    local writes = report.runs[1]
    return {
        ("%s: %s requests for %s of a shop's %s products"):format(report.trace, grouped(report.requests),
            grouped(report.distinct), grouped(report.products)),
        ("Each run: %s writes through the cache, %s by another connection (seed %d)"):format(
            grouped(writes.own_writes), grouped(writes.foreign_writes), report.seed),
        ("A cache of at most %s products; the shop is in SQLite; %s"):format(
            grouped(report.entries), report.lua),
        "",
    }
end

local function verdict(report, look)
    local right = report.violations == 0
    local lines = {
        ("The rule: no value that was replaced more than %.1f s before it was read"):format(report.bound_seconds),
        ("(changes.interval %.1f s, slack %.1f s). Read and checked: %s; "):format(report.interval_seconds,
            report.slack_seconds, grouped(report.checked))
            .. terminal.paint(look, right and "green" or "red", "wrong: " .. grouped(report.violations)),
    }
    if not right then
        lines[3] = "The first: " .. report.first_violation:sub(1, 68)
    end
    return lines
end

local function plot_lines(report, look)
    local last = report.runs[#report.runs]
    local lines = screen.plot(last.over_time, look.blocks)
    table.insert(lines, 1, "Hit rate over the trace (" .. last.pattern .. ")")
    return lines
end

-- The lines of the last screen.
function screen.lines(report, look)
    local lines = heading(report)
    local function add(line)
        lines[#lines + 1] = line
    end
    add(terminal.paint(look, "bold", row(HEAD)))
    for _, run in ipairs(report.runs) do
        add(row(cells_of(run)))
    end
    add ""
    for _, line in ipairs(report.shared and shared_lines(report.shared) or plot_lines(report, look)) do
        add(line)
    end
    add ""
    for _, line in ipairs(verdict(report, look)) do
        add(line)
    end
    return lines
end

return screen
