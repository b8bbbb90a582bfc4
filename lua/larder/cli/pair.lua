-- pair.lua - the demo's run with a shared tier: this process and another one, side by side, each with an L1, over one
-- Redis; afterwards all that both of them read is compared with what the table held.

local half = require "larder.cli.half"
local history = require "larder.cli.history"
local place = require "larder.cli.place"

local pair = {}

-- The Lua that runs this.
local function interpreter()
    local first = 0
    while arg[first - 1] do
        first = first - 1
    end
    return arg[first]
end

-- The URL may hold a password, so it goes by a file in a folder that is ours alone.
local function hand_over(folder, plan)
    local file = assert(io.open(folder .. "/plan.lua", "w"))
    file:write "return {"
    for name, value in pairs(plan) do
        if type(value) ~= "table" then
            file:write(("%s = " .. (type(value) == "string" and "%q" or "%.17g") .. ", "):format(name, value))
        end
    end
    file:write "before = {"
    for id, edition in pairs(plan.before) do
        file:write(("[%d] = %d,\n"):format(id, edition))
    end
    file:write "} }\n"
    assert(file:close())
end

local function start(folder)
    local call = ("os.exit(require('larder.cli.half').serve(%q))"):format(folder)
    local other = io.popen(("%s -e %s"):format(place.quote(interpreter()), place.quote(call)))
    return other, other:read "*l"
end

-- What the other process says up to its end; nothing: it was killed.
local function last_words(other, first)
    local text = (first or "") .. "\n" .. (other:read "*a" or "")
    other:close()
    return text
end

---- the figures -------------------------------------------------------------------------------------------------------

local function quantile(sorted, q)
    return sorted[math.max(1, math.ceil(q * #sorted))] or 0
end

-- Answers by who gave them: how many, which share, how long they took.
local function tier(lists, total)
    local all = {}
    for _, list in ipairs(lists) do
        for _, seconds in ipairs(list) do
            all[#all + 1] = seconds
        end
    end
    table.sort(all)
    local figures = { answers = #all, share = #all / total, p50_seconds = quantile(all, 0.5),
        p99_seconds = quantile(all, 0.99) }
    return figures, all
end

local function of_outcomes(tooks, ...)
    local lists = {}
    for _, took in ipairs(tooks) do
        for _, outcome in ipairs { ... } do
            lists[#lists + 1] = took[outcome]
        end
    end
    return lists
end

local function sum(results, field)
    local n = 0
    for _, result in ipairs(results) do
        n = n + result[field]
    end
    return n
end

local function shared_figures(results, tooks, total)
    local stats = {}
    for _, field in ipairs(half.STATS) do
        stats[field] = results[1].stats[field] + results[2].stats[field]
    end
    return { l1 = tier(of_outcomes(tooks, "l1"), total), l2 = tier(of_outcomes(tooks, "l2"), total),
        source = tier(of_outcomes(tooks, "loaded", "joined"), total), stats = stats, processes = 2 }
end

local function run_of(results, logs, tooks, plan)
    local total = sum(results, "requests")
    local shared = shared_figures(results, tooks, total)
    local wrong, first, oldest = history.judge(logs, plan.truth.editions, plan.bound)
    local all = select(2, tier(of_outcomes(tooks, "l1", "l2", "loaded", "joined", "stale", "absent", "error"), total))
    return {
        pattern = "two processes", requests = total, own_writes = sum(results, "own_writes"),
        foreign_writes = sum(results, "foreign_writes"), hits = shared.stats.hits, misses = shared.stats.misses,
        hit_rate = shared.stats.hits / total, queries = shared.stats.loads, saved = 1 - shared.stats.loads / total,
        over_time = results[1].over_time, oldest_seconds = oldest, p50_seconds = quantile(all, 0.5),
        p99_seconds = quantile(all, 0.99), violations = wrong + sum(results, "violations"),
        first_violation = results[1].first_violation or results[2].first_violation or first, shared = shared,
    }
end

---- the run -----------------------------------------------------------------------------------------------------------

-- plan: of demo.lua; url: of the server; folder: ours alone. Gives the run's figures.
function pair.run(plan, url, folder)
    local shared = { url = url, name = "larder-demo." .. folder:match "[^/]+$":gsub("[^%w_-]", "-"):sub(-40),
        entries = plan.entries, seed = plan.seed, trace = plan.trace, products = plan.products,
        requests = #plan.requests, file = plan.store.file, before = plan.truth.editions }
    hand_over(folder, shared)
    local go = half.prepare(shared, 1, plan.store, plan.requests, plan.keys, plan.ids)
    plan.progress:start "two processes"
    local other, said = start(folder)
    if said ~= "ready" then
        error("the other process did not begin: " .. last_words(other, said), 0)
    end
    local result, log, took = go(plan.progress)
    local words = last_words(other)
    if not words:find "done\n$" then
        error("the other process failed: " .. words, 0)
    end
    local their_result, their_log, their_took = half.read(folder .. "/half.log")
    os.remove(folder .. "/half.log")
    os.remove(folder .. "/plan.lua")
    local run = run_of({ result, their_result }, { log, their_log }, { took, their_took }, plan)
    plan.progress:done(("%d reads, %d queries, %d wrong"):format(run.requests, run.queries, run.violations))
    return run
end

return pair
