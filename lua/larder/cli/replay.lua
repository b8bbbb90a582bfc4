-- replay.lua - sends a trace through one cache, with writes in between, and notes what came of it.
--
-- Writes are drawn from a seed, so that each run has the same ones at the same places: some through the cache, some
-- past it by another connection. They go to products that were just asked for, where a wrong answer would show.

local core = require "larder.core"
local shop = require "larder.cli.shop"

local replay = {}

local OWN, FOREIGN = 20, 10 -- of 1,000 requests come with a write of this kind
local RECENT = 500          -- a write goes to one of the last so many requests
local COLUMNS = 60          -- of the plot

local function note_violation(result, what)
    result.violations = result.violations + 1
    result.first_violation = result.first_violation or what
end

-- The product of that request, or of one before it which this run may write; nil: there is none near.
local function a_product(run, at)
    for i = math.max(1, at), math.max(1, at - RECENT), -1 do
        local id = run.ids[run.requests[i]]
        if not run.may_write or run.may_write(id) then
            return id
        end
    end
    return nil
end

-- Before request i, perhaps a write.
local function perhaps_write(run, i, result)
    local drawn, back = run.random(1000), run.random(RECENT)
    if drawn > OWN + FOREIGN then
        return
    end
    local id = a_product(run, i - back)
    if not id then
        return
    end
    local own = drawn <= OWN
    local write = own and run.write or run.foreign
    local done, err = write(id, run.truth:edition(id) + 1)
    if not done then
        error(("product %d could not be written: %s"):format(id, tostring(err)), 0)
    end
    run.truth:committed(id, core.now(), own)
    local kind = own and "own_writes" or "foreign_writes"
    result[kind] = result[kind] + 1
end

local function quantile(sorted, q)
    return sorted[math.max(1, math.ceil(q * #sorted))]
end

local function one(run, i, result, took, hits)
    local number = run.requests[i]
    local id = run.ids[number]
    local key = run.keys[number]
    local now, get, cache = core.now, run.get, run.cache
    local began = now()
    local row, err, outcome = get(cache, key, id)
    took[i] = now() - began
    if run.note then
        run.note(row == nil and "error" or outcome, took[i])
    end
    if row == nil then
        return note_violation(result, ("product %d: %s"):format(id, tostring(err or outcome)))
    end
    local wrong, age = run.truth:check(id, row, began)
    if wrong then
        note_violation(result, wrong)
    elseif age > result.oldest_seconds then
        result.oldest_seconds = age
    end
    local column = math.floor((i - 1) * run.columns / run.n) + 1
    if outcome == "l1" then
        hits[column] = hits[column] + 1
    end
end

-- The share of hits, column by column.
local function over_time(run, hits)
    local shares, from = {}, 0
    for column = 1, run.columns do
        local to = math.ceil(column * run.n / run.columns)
        shares[column] = hits[column] / (to - from)
        from = to
    end
    return shares
end

-- run: cache get(cache, key, id) write(id, edition) foreign(id, edition) requests (numbers) ids keys (by number)
-- truth seed progress; may_write(id) and note(outcome, seconds) may be there. Gives the figures.
function replay.run(run)
    run.n, run.random = #run.requests, shop.random(run.seed)
    run.columns = math.min(COLUMNS, run.n)
    local result = { requests = run.n, own_writes = 0, foreign_writes = 0, violations = 0, oldest_seconds = 0 }
    local took, hits = {}, {}
    for column = 1, run.columns do
        hits[column] = 0
    end
    for i = 1, run.n do
        perhaps_write(run, i, result)
        one(run, i, result, took, hits)
        if i % 512 == 0 then
            run.progress:at(i / run.n)
        end
    end
    local stats = run.cache:stats()
    result.hits, result.misses, result.hit_rate, result.queries = stats.hits, stats.misses, stats.hit_rate, stats.loads
    result.saved = 1 - stats.loads / run.n
    result.over_time = over_time(run, hits)
    table.sort(took)
    result.p50_seconds, result.p99_seconds = quantile(took, 0.5), quantile(took, 0.99)
    return result
end

return replay
