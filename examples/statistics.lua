-- statistics.lua - what a cache says of itself: counters, times, and events as they happen.
local larder = require "larder"
local sqlite = require "larder.sqlite"

local file = os.tmpname()
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        INSERT INTO products SELECT i, 'product ' || i FROM n;
]])

local cache = assert(larder.open {
    source = larder.source.sqlite { file = file, models = { product = { table = "products" } } },
    l1 = { entries = 100 },
})

-- A handler for a kind of event; the function that `on` gives takes it off again.
local loaded = 0
local off = cache:on("load", function(e)
    loaded = loaded + 1
    assert(e.key and e.seconds)
end)

-- Nine of ten reads go to fifty products, the rest anywhere.
math.randomseed(1)
for _ = 1, 10000 do
    local id = math.random() < 0.9 and math.random(50) or math.random(1000)
    assert(cache:get("product:" .. id))
end
off()

local s = cache:stats()
print(("hits %d, misses %d, hit rate %.0f %%"):format(s.hits, s.misses, 100 * s.hit_rate))
print(("loads %d, told of %d"):format(s.loads, loaded))
print(("entries %d, evictions %d, bytes %d"):format(s.entries, s.evictions, s.bytes))
print(("a load: p50 %.0f us, p99 %.0f us"):format(1e6 * s.latency.load.p50, 1e6 * s.latency.load.p99))
print(("a get:  p50 %.2f us, p99 %.0f us"):format(1e6 * s.latency.get.p50, 1e6 * s.latency.get.p99))

cache:close()
db:close()
for _, tail in ipairs { "", "-wal", "-shm" } do
    os.remove(file .. tail)
end
