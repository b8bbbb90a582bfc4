-- two_tiers/reader.lua - the other process of main.lua: reads a product, then again whenever it hears that it
-- changed, until it costs 4.
package.path = arg[0]:gsub("[^/]+/[^/]+$", "") .. "?.lua;" .. package.path
local larder = require "larder"
local redis = require "redis"
local sqlite = require "larder.sqlite"

local folder = arg[1]
local file = folder .. "/shop.db"
local db = assert(sqlite.open(file))
local cache = assert(larder.open {
    name = "example.two_tiers." .. folder:match "[^/]+$",
    l2 = redis.url(folder),
    source = larder.source.sqlite { file = file, models = { product = { table = "products", version = "version" } } },
    ttl = 60,
})
io.stdout:setvbuf "line"

local function say(...)
    print(db:query("SELECT strftime('%H:%M:%f') AS now")[1].now .. "  reader  " .. table.concat({ ... }, "  "))
end

local function read()
    local row, err, outcome = cache:get "product:42"
    return assert(row, err).price, outcome
end

local heard = false
cache:on("invalidate", function(e)
    heard = true
    say("hears that it changed", e.key, e.origin)
end)

local price, outcome = read()
say("reads", outcome, price)
repeat                          -- the first look at the bell may have been later than the first read: then l2 once more
    price, outcome = read()
until outcome == "l1"
say("reads", outcome, price)

while price ~= 4 do
    cache:poll()                -- a program with no loop of its own: handlers run here, and after other calls
    if heard then
        local before = price
        heard, price, outcome = false, read()
        if price ~= before then -- (the change table tells of the writer's own change once more)
            say("reads", outcome, price)
        end
    end
    larder.sleep(0.001)
end
cache:close()
db:close()
