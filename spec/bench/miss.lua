-- miss.lua - what a miss costs: a row of a SQLite table through the cache, against the bare prepared SELECT by SQLite's
-- C interface that makes a Lua table of the row. Same file in WAL mode, same keys in the same order; ahead of each
-- round the cache is emptied, so that every read of it is a miss that loads, seals, keeps and decodes.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"
local larder = require "larder"
local sqlite = require "larder.sqlite"

local ROWS = 10000
local file = os.tmpname()

local function make_shop()
    local db = assert(sqlite.open(file, { create = true }))
    assert(db:exec(([[
        PRAGMA journal_mode = WAL;
        CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INT, active INT, vendor TEXT,
            url TEXT, weight REAL);
        INSERT INTO products WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
            SELECT i, 'product ' || i, i + 0.25, i %% 50, i %% 2, 'vendor ' || (i %% 20),
                'https://example.org/p/' || i, i * 1.5
            FROM n;
    ]]):format(ROWS)))
    assert(sqlite.migrate { file = file, table = "products", changes = true, mode = "apply" })
    db:close()
end

local function open(changes)
    return assert(larder.open { source = larder.source.sqlite { file = file, models = {
        product = { table = "products", version = "version" } } }, changes = changes, l1 = { bytes = 64 * 2 ^ 20 } })
end

make_shop()
local ids, keys = {}, {}
for i = 1, ROWS do
    ids[i] = i
end
bench.shuffle(ids)
for i, id in ipairs(ids) do
    keys[i] = "product:" .. id
end

local select = bench.probe().select(file, "SELECT * FROM products WHERE id = ?1")
local function bare()
    for i = 1, ROWS do
        if select(ids[i]).stock == nil then
            error "a row without its columns"
        end
    end
    return ROWS
end

local function through(cache)
    return function()
        for i = 1, ROWS do
            if cache:get(keys[i]).stock == nil then
                error "a row without its columns"
            end
        end
        return ROWS
    end
end

local function compare(place, what, cache, reach)
    bench.compare { place = place, work = bench.engine .. ": miss, SQLite, " .. what, ours = through(cache),
        before = function()
            cache:invalidate_all()
        end, peer = "prepared SELECT, row to table", theirs = bare, reach = reach }
    assert(cache:stats().hits == 0, "every read was to be a miss")
    cache:close()
end

local place = bench.is_jit and 5.1 or 5.3
compare(place, "changes off", open(false), 1.5)
compare(place + 0.1, "changes on", open(true), 1.5)

-- For information: a miss that asks a Lua loader, against the loader itself.
local row = { id = 1, name = "product 1", price = 1.25, stock = 1, active = 1, vendor = "vendor 1", weight = 1.5 }
local function load()
    return row
end
local cache = larder.open {}
bench.compare { place = place + 4, work = bench.engine .. ": miss, a Lua loader", before = function()
    cache:invalidate_all()
end, ours = function()
    for i = 1, ROWS do
        if cache:get(keys[i], nil, load) == nil then
            error "nothing"
        end
    end
    return ROWS
end, peer = "t[key] = loader(key)", theirs = function()
    local t = {} -- luacheck: ignore 241
    for i = 1, ROWS do
        t[keys[i]] = load()
    end
    return ROWS
end }

-- And many at once: 100 hits a call, ns a key.
local function get_many()
    local hundred = {}
    for i = 1, 100 do
        hundred[i] = keys[i]
    end
    for _ = 1, 50 do
        cache:get_many(hundred)
    end
    return 50 * 100
end
local function one_by_one()
    for _ = 1, 50 do
        local t = {} -- luacheck: ignore 241
        for i = 1, 100 do
            t[keys[i]] = cache:get(keys[i])
        end
    end
    return 50 * 100
end
for i = 1, 100 do
    cache:set(keys[i], "a string of some bytes")
end
bench.compare { place = place + 4.1, work = bench.engine .. ": get_many of 100 hits, a key", ours = get_many,
    peer = "100 x get", theirs = one_by_one }

for _, tail in ipairs { "", "-wal", "-shm" } do
    os.remove(file .. tail)
end
