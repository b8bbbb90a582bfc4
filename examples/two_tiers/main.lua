-- two_tiers/main.lua - two processes, each with a shelf of its own (L1), share one cache through Redis (L2). This one
-- writes; reader.lua, which it starts, hears of it and never gives the old price again.
--
--     lua5.4 examples/two_tiers/main.lua         an own redis-server; or that of LARDER_REDIS=redis://host:port/db
package.path = arg[0]:gsub("[^/]+/[^/]+$", "") .. "?.lua;" .. package.path
local larder = require "larder"
local redis = require "redis"
local sqlite = require "larder.sqlite"

local folder, remove = redis.folder()
local stop = redis.start(folder)
local file = folder .. "/shop.db"
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL);
    INSERT INTO products VALUES (42, 'tea', 3.5);
]])
assert(sqlite.migrate { file = file, table = "products", changes = true, mode = "apply" })

local cache = assert(larder.open {
    name = "example.two_tiers." .. folder:match "[^/]+$", -- who shares the name shares the cache
    l2 = redis.url(folder),
    source = larder.source.sqlite { file = file, models = { product = { table = "products", version = "version" } } },
    ttl = 60,
})

local function say(...)
    print(db:query("SELECT strftime('%H:%M:%f') AS now")[1].now .. "  writer  " .. table.concat({ ... }, "  "))
end

local function read()
    local row, err, outcome = cache:get "product:42"
    say("reads", outcome, row and row.price or tostring(err))
end

local reader = redis.program("reader.lua", folder)
local function next_of_reader()                 -- what it says, to its next reading
    repeat
        local line = assert(reader:read "*l", "the reader ended")
        print(line)
    until line:find "reads"
end

read()                                          -- loaded: from the table; now it is in Redis, too
next_of_reader()                                -- l2: found in Redis, the table was not asked
next_of_reader()                                -- l1: found in its own shelf
assert(cache:set("product:42", { price = 3.75 }))
say("wrote", "3.75")                            -- the table first, then Redis, then this process's shelf
next_of_reader()                                -- hears of it; l2: the new price
assert(db:query "UPDATE products SET price = 4 WHERE id = 42")
say("wrote past the cache", "4")                -- past the cache: the change table tells of it
next_of_reader()                                -- loaded, or l2 where the writer was quicker
read()                                          -- and the other way round

reader:close()
cache:close()
db:close()
stop()
remove()
