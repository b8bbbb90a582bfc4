-- redis_write.lua - a write through to SQLite and Redis: cache:set of two columns of a row, against the bare prepared
-- UPDATE between two Redis commands (SET, UPDATE, SET: each waits for its answer) in C. Both with a file of their own
-- of the same kind: WAL, the version trigger, SQLite's own setting of synchronous, a COMMIT a write. What the disk
-- takes for a commit is most of it; the second row, for information, is of files in memory.
--
-- under: lua5.4 luajit
package.path = "./?.lua;" .. package.path
local larder = require "larder"
local redis = require "spec.support.bench_redis"
local sqlite = require "larder.sqlite"

local ROWS = 1000
local UPDATE = "UPDATE products SET price = ?2, stock = ?3 WHERE id = ?1"

local function make_shop(file)
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
    assert(sqlite.migrate { file = file, table = "products", changes = false, mode = "apply" })
    db:close()
    return file
end

local what_of = { disk = "SQLite and Redis", memory = "the file in memory" }

local function setting(cache)
    local i = 0
    return function(n)
        for _ = 1, n do
            i = i + 1
            assert(cache:set("product:" .. i * 7919 % ROWS + 1, { price = i + 0.25, stock = i }))
        end
    end
end

local function compare(place, name, folder, n, reach)
    local what = what_of[name]
    local file = make_shop(folder .. "/ours.db")
    local source = larder.source.sqlite { file = file, models = {
        product = { table = "products", version = "version" } } }
    local cache = redis.open { name = name, pattern = { "read_through", "write_through" }, changes = false,
        source = source }
    local write = redis.probe.writer(redis.path, make_shop(folder .. "/peer.db"), UPDATE)
    place = place + (redis.engine == "LuaJIT" and 0.1 or 0)
    redis.compare { place = place, work = redis.engine .. ": write-through, " .. what, n = n,
        ours = cache and setting(cache), peer = "UPDATE, two Redis commands in C", theirs = write, reach = reach }
    if cache then
        cache:close()
    end
end

redis.with(function()
    compare(24, "disk", redis.folder, 10, 1.15)
    local pipe = io.popen "mktemp -d /dev/shm/larder-bench-XXXXXX 2>/dev/null"
    local folder = pipe:read "*l"
    pipe:close()
    if folder then
        local ok, err = pcall(compare, 24.2, "memory", folder, 50)
        os.execute("rm -rf " .. folder)
        assert(ok, err)
    end
end)
