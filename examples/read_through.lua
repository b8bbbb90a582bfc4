-- read_through.lua - the cache knows where the truth is: a SQLite table behind keys such as "product:42".
local larder = require "larder"
local sqlite = require "larder.sqlite"

local file = os.tmpname()
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL);
    INSERT INTO products VALUES (42, 'tea', 3.5), (43, 'coffee', 4.25), (44, 'milk', 1.2);
]])
-- Versions and the change table; in a shell: larder migrate --dsn sqlite:FILE --table products --changes --apply
assert(sqlite.migrate { file = file, table = "products", changes = true, mode = "apply" })

local cache = assert(larder.open {
    source = larder.source.sqlite { file = file, models = { product = { table = "products", version = "version" } } },
    ttl = 300,
    negative_ttl = 10,
})

local function show(key)
    local row, err, outcome = cache:get(key)
    print(key, outcome, row and row.name or err or "-")
end
show "product:42"                    --> product:42  loaded  tea
show "product:42"                    --> product:42  l1      tea
show "product:99"                    --> product:99  absent  -
print(cache:stats().loads .. " loads") --> 2 loads

-- Many at once: one load for all that is missing.
local rows = cache:get_many { "product:42", "product:43", "product:44" }
print(rows["product:42"].name, rows["product:43"].name, rows["product:44"].name)

-- Another program changes the table; the cache hears of it within about changes.interval (0.1 s).
assert(db:query("UPDATE products SET name = 'green tea' WHERE id = 42"))
local before = os.time()
while cache:get("product:42").name == "tea" and os.time() - before < 5 do
    larder.sleep(0.01)
end
show "product:42"                    --> product:42  l1  green tea

cache:close()
db:close()
for _, tail in ipairs { "", "-wal", "-shm" } do
    os.remove(file .. tail)
end
