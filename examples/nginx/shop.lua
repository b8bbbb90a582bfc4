-- shop.lua - what examples/nginx/nginx.conf serves. The cache is opened once, in nginx's master; every worker then has
-- its own shelf, thread and connection. A request that misses waits for SQLite while the worker serves others.

local cjson = require "cjson"
local larder = require "larder"
local sqlite = require "larder.sqlite"

local shop = {}

local file = ngx.config.prefix() .. "build/nginx/shop.db"

do -- a table to ask
    local db = assert(sqlite.open(file, { create = true }))
    assert(db:exec [[
        CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, title TEXT NOT NULL, cents INTEGER NOT NULL);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
            INSERT OR IGNORE INTO products SELECT i, 'product ' || i, i * 100 FROM n;
    ]])
    db:close()
end

local cache = assert(larder.open {
    ttl = 60,
    source = larder.source.sqlite { file = file, models = { product = { table = "products" } } },
})

local function answer(value, err, outcome)
    ngx.header["X-Cache"] = outcome
    ngx.status = err and 503 or value == nil and 404 or 200
    ngx.say(cjson.encode(err and { code = err.code, message = err.message } or value or { outcome = outcome }))
end

function shop.product(id)
    answer(cache:get("product:" .. (id or "")))
end

function shop.peek(id)
    local value, outcome = cache:peek("product:" .. (id or ""))
    answer(value, nil, outcome)
end

function shop.stats()
    answer(cache:stats())
end

return shop
