-- golden_spec.lua - a real trace through the whole line: `get` with a loader misses as often as the published counts
-- say, to the last miss, for each policy and size. LARDER_PROVE=1 with TRACES=folder: all traces found there.

local bed = require "spec.support.bed"
local larder = require "larder"

local POLICIES = { fifo = true, lru = true, clock = true, sieve = true, s3fifo = true }
local folder = debug.getinfo(1, "S").source:match("^@(.*)spec/golden_spec%.lua$") .. "examples/data"

local function rows_of(file, wanted)
    local rows = {}
    for line in io.lines(file) do
        local trace, policy, unit, size, requests, misses = line:match("^([^,]+),([^,]+),(%a+),(%d+),(%d+),(%d+)")
        if unit == "unit" and POLICIES[policy] and (not wanted or trace == wanted) then
            rows[#rows + 1] = { trace = trace, policy = policy, size = tonumber(size), requests = tonumber(requests),
                misses = tonumber(misses) }
        end
    end
    return rows
end

local function keys_of(file)
    local keys = {}
    local pipe = assert(io.popen("gzip -dc '" .. file:gsub("'", "'\\''") .. "'"))
    for line in pipe:lines() do
        keys[#keys + 1] = line:match("^%S+")
    end
    pipe:close()
    return keys
end

local function load()
    return "x"
end

local function misses_of(keys, row)
    local cache = assert(larder.open {
        l1 = { entries = row.size, shards = 1, policy = row.policy }, ttl = math.huge,
    })
    for i = 1, #keys do
        cache:get(keys[i], nil, load)
    end
    local stats = cache:stats()
    cache:close()
    return stats.misses, stats.hits + stats.misses
end

local function check(keys, rows)
    for i = 1, bed.is_watched and 2 or #rows do -- a tool that watches takes a minute a row
        local row = rows[i]
        it(("%s %s %d"):format(row.trace, row.policy, row.size), function()
            local misses, requests = misses_of(keys, row)
            assert.equal(row.requests, requests)
            assert.equal(row.misses, misses)
        end)
    end
end

describe("published miss counts", function()
    check(keys_of(folder .. "/cache2k-web12.txt.gz"), rows_of(folder .. "/golden-web12.csv"))

    local traces = os.getenv("LARDER_PROVE") and os.getenv("TRACES")
    if traces and traces ~= "" then
        for _, name in ipairs { "arc-OLTP", "cache2k-orm-busy", "cloudphysics-io", "lirs-multi3" } do
            check(keys_of(traces .. "/" .. name .. ".txt.gz"), rows_of(traces .. "/golden.csv", name))
        end
    end
end)
