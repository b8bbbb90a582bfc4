-- decorator.lua - a function with a cache around it: same arguments, same results, less work.
local larder = require "larder"
local sqlite = require "larder.sqlite"

local file = os.tmpname()
local db = assert(sqlite.open(file, { create = true }))
assert(db:exec [[
    CREATE TABLE sales (shop TEXT, month INTEGER, cents INTEGER);
    INSERT INTO sales VALUES ('north', 1, 1250), ('north', 1, 800), ('north', 2, 400), ('south', 1, 990);
]])

local runs = 0

-- The total of a month and the number of sales. Takes its time, in a real shop.
local function turnover(shop, month)
    runs = runs + 1
    local row = db:query("SELECT sum(cents) AS cents, count(*) AS n FROM sales WHERE shop = ? AND month = ?",
        shop, month)[1]
    return row.cents, row.n
end

local cache = assert(larder.open {})
local cached = cache:wrap(turnover, { prefix = "turnover", ttl = 600 })

print("north", cached("north", 1))   --> north  2050  2
print("north", cached("north", 1))   --> north  2050  2
print("south", cached("south", 1))   --> south  990   1
print("the function ran " .. runs .. " times for 3 calls")

-- A sale was booked: this month of this shop is computed anew, the others stay.
assert(db:query("INSERT INTO sales VALUES (?, ?, ?)", "north", 1, 50))
cached:invalidate("north", 1)
print("north", cached("north", 1))   --> north  2100  3
print("south", cached("south", 1))   --> south  990   1
print("the function ran " .. runs .. " times for 5 calls")

cache:close()
db:close()
os.remove(file)
