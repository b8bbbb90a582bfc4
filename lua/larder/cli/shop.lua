-- shop.lua - the demo's shop: a SQLite table of products that follows from a seed, so that each column of each row can
-- be told without asking the table.
--
-- A product is its id and its edition, which every change raises by one; name and text follow from the id, the price
-- from both. What a row must look like is told by shop:fault.

local sqlite = require "larder.sqlite"

local shop = {}
shop.__index = shop

local FIRST = { "plain", "small", "large", "round", "soft", "green", "blue", "warm", "light", "old", "fine", "dark" }
local SECOND = { "kettle", "lamp", "chair", "scarf", "basket", "clock", "mirror", "bowl", "rug", "shelf", "pen", "cup" }
local WORDS = { "made", "by", "hand", "from", "good", "oak", "wool", "clay", "steel", "for", "every", "day", "and",
    "kept", "well", "in", "a", "dry", "place", "with", "care" }

-- A generator of whole numbers that is the same in every Lua: random(n) gives 1 to n.
function shop.random(seed)
    local state = (seed * 2654435 + 12345) % 2147483647
    if state == 0 then
        state = 1
    end
    return function(n)
        state = state * 48271 % 2147483647
        return math.floor(state * n / 2147483647) + 1
    end
end

local N_WORDS = 30

local function text_of(seed, id)
    local random = shop.random(seed + id * 31)
    local words = {}
    for i = 1, N_WORDS do
        words[i] = WORDS[random(#WORDS)]
    end
    return table.concat(words, " ")
end

local function name_of(id)
    return ("%s %s %d"):format(FIRST[id % 12 + 1], SECOND[math.floor(id / 12) % 12 + 1], id)
end

function shop:price(id, edition)
    return (id * 7919 + edition * 104729 + self.seed) % 99900 + 99
end

local SCHEMA = [[
    PRAGMA journal_mode = WAL;
    CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL,
        edition INTEGER NOT NULL, about TEXT NOT NULL);
]]

local function fill(self, progress)
    local put = assert(self.db:prepare "INSERT INTO products VALUES (?, ?, ?, 1, ?)")
    for id = 1, self.n do
        assert(put:run(id, name_of(id), self:price(id, 1), text_of(self.seed, id)))
        if id % 1024 == 0 then
            progress:at(id / self.n)
        end
    end
    put:close()
end

-- Makes a shop of n products in a new file. Raises when SQLite says no.
function shop.new(file, n, seed, progress)
    local self = setmetatable({ file = file, n = n, seed = seed, texts = {} }, shop)
    self.db = assert(sqlite.open(file, { create = true }))
    assert(self.db:exec(SCHEMA))
    assert(self.db:exec "BEGIN")
    fill(self, progress)
    assert(self.db:exec "COMMIT")
    local migrated, err = sqlite.migrate { file = file, table = "products", changes = true, mode = "apply" }
    if not migrated then
        error(tostring(err), 0)
    end
    self:reopen()
    return self
end

-- The shop that another process made.
function shop.open(file, n, seed)
    local self = setmetatable({ file = file, n = n, seed = seed, texts = {} }, shop)
    self.db = assert(sqlite.open(file))
    self:reopen()
    return self
end

-- Two connections that are no part of Larder: the program's own, and that of another program.
function shop:reopen()
    self.db:close()
    self.db, self.other = assert(sqlite.open(self.file)), assert(sqlite.open(self.file))
    self.find = assert(self.db:prepare "SELECT * FROM products WHERE id = ?")
    local change = "UPDATE products SET edition = ?, price_cents = ? WHERE id = ?"
    self.change = { own = assert(self.db:prepare(change)), other = assert(self.other:prepare(change)) }
end

-- The row as the table has it.
function shop:load(id)
    local rows, message = self.find:rows(id)
    return rows and rows[1], message
end

-- Changes a product past every cache, by the connection "own" or "other".
function shop:update(by, id, edition)
    return self.change[by]:run(edition, self:price(id, edition), id)
end

-- The columns that a change gives.
function shop:columns(id, edition)
    return { edition = edition, price_cents = self:price(id, edition) }
end

-- What is wrong with a row of product id, in its own edition; nil when nothing is.
function shop:fault(id, row)
    local about = self.texts[id]
    if not about then
        about = text_of(self.seed, id)
        self.texts[id] = about
    end
    if type(row) ~= "table" then
        return "is not a row"
    elseif row.id ~= id or row.name ~= name_of(id) or row.about ~= about then
        return "has the columns of another product"
    elseif row.price_cents ~= self:price(id, row.edition) then
        return ("has a price that is not of its edition %s"):format(tostring(row.edition))
    end
    return nil
end

function shop:close()
    self.find:close()
    self.change.own:close()
    self.change.other:close()
    self.db:close()
    self.other:close()
end

return shop
