-- write_through.lua - writes go to the table first, then the cache holds the new row with its new version.
local larder = require "larder"
local sqlite = require "larder.sqlite"

local file = os.tmpname()
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, stock INTEGER CHECK (stock >= 0));
    INSERT INTO products VALUES (42, 'tea', 10);
]])
assert(sqlite.migrate { file = file, table = "products", mode = "apply" })

local cache = assert(larder.open {
    pattern = "write_through",
    source = larder.source.sqlite { file = file, models = { product = { table = "products", version = "version" } } },
})

local function in_table()
    local row = db:query "SELECT name, stock FROM products WHERE id = 42"[1]
    return row and row.name .. " x " .. row.stock or "gone"
end

-- Some of the columns are enough; what the table then holds is cached.
assert(cache:set("product:42", { stock = 9 }))
local row, _, outcome = cache:get "product:42"
print("cache: " .. row.name .. " x " .. row.stock, outcome) --> cache: tea x 9  l1
print("table: " .. in_table())                              --> table: tea x 9

-- Only if nobody was faster: the version that was read must still be the current one.
local entry = cache:get_entry "product:42"
assert(db:query("UPDATE products SET stock = 3 WHERE id = 42")) -- somebody was
local version, err = cache:set("product:42", { stock = entry.value.stock - 1 }, { if_version = entry.version })
print(version, err.code)                                    --> nil  conflict

-- A rule of the table is kept, too: nothing is written, nothing is cached.
version, err = cache:set("product:42", { stock = -1 })
print(version, err.code)                                    --> nil  rejected
print("table: " .. in_table())                              --> table: tea x 3

assert(cache:delete "product:42")
print("table: " .. in_table())                              --> table: gone

cache:close()
db:close()
for _, tail in ipairs { "", "-wal", "-shm" } do
    os.remove(file .. tail)
end
