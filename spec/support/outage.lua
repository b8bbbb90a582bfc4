-- outage.lua - what the specs of faults share: a server behind the proxy, a SQLite table, a cache of each pattern,
-- another process; calls that are timed, values that are judged, and the wait until all serves again.
--
-- The table's price is the truth: this process alone writes it, so a read's value is known before it is asked. Of the
-- other process's reads it is known how old a value may be.

local assert = require "luassert"
local bed = require "spec.support.bed"
local crew = require "spec.support.crew"
local larder = require "larder"
local posix = require "spec.support.posix"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"

local outage = { rows = 5 } -- item:1 to item:5; item:6 and item:7 are for the cache that writes around
local methods = {}
local meta = { __index = methods }

-- How much later than its deadline a call may end. The machine is shared: only the proof is strict.
outage.slack_ms = bed.is_watched and 2000 or bed.prove and 100 or 300
outage.heal_ms = 1000 + math.max(outage.slack_ms, 300)

local function source(file)
    return larder.source.sqlite { file = file, models = { item = { table = "items", version = "version" } } }
end

local function hire()
    return crew.hire("spec.support.reader", { lua = crew.luas[bed.is_jit and 1 or 2] })
end

-- options: config of the server; port. One for all faults of a spec.
function outage.start(options)
    local self = setmetatable({ n = 0, figures = {} }, meta)
    self.server = redis.start(options)
    self.proxy = proxy.start { to = self.server }
    self.file, self.db, self.remove = bed.items()
    for id = 6, 7 do
        assert(self.db:query("INSERT INTO items (id, name, price) VALUES (?, ?, ?)", id, "item " .. id, id * 10))
    end
    self.other = hire()
    return self
end

function outage.stop(self)
    self.other:kill()
    self.proxy:stop()
    self.server:close()
    self.remove()
end

-- ---- the truth --------------------------------------------------------------------------------------------------

function methods:price(id)
    local row = self.db:query("SELECT price FROM items WHERE id = ?", id)[1]
    return row and row.price
end

-- Notes that the row has this price from now on.
function methods:became(id, price)
    local list = self.history[id]
    list[#list + 1] = { price = price, at = posix.now() }
end

-- Is it a price that the row had at `from` or later, or less than the bound before?
function methods:judge(id, price, from)
    local list = self.history[id]
    for i = #list, 1, -1 do
        if list[i].price == price then
            local ended = list[i + 1] and list[i + 1].at
            local late = ended and from - ended or 0
            assert.is_true(late <= self.bound_ms, ("item %d: %s is %.0f ms old"):format(id, price, late))
            return late > 0
        end
    end
    error(("item %d was never %s"):format(id, tostring(price)), 0)
end

-- ---- caches --------------------------------------------------------------------------------------------------------

-- Fresh caches of a name of their own: self.through (read_through, write_through), self.around, self.aside, the other
-- process's, which is a `through`; and what they hold: all rows in Redis and in both L1, warm.
function methods:begin(options)
    options = options or {}
    self.n = self.n + 1
    self.name, self.bound_ms, self.slowest, self.calls = "outage" .. self.n, (options.ttl or 3) * 1000, 0, 0
    self.opts = { timeout = options.timeout or 1 }
    self.ms, self.excess, self.n_old, self.old_until = self.opts.timeout * 1000, -math.huge, 0, nil
    self.history, self.notes, self.next = {}, { v = 0 }, 1000 * self.n
    local function open(name, given)
        given.name = self.name .. name
        given.l2 = { url = options.url or self.proxy.url, timeout = options.l2_timeout or 0.2 }
        given.ttl = options.ttl or 3
        given.bound = given.source and options.bound and { hard = options.bound }
        return assert(larder.open(given))
    end
    self.through = open("", { source = source(self.file) })
    self.around = open(".around", { source = source(self.file), pattern = { "read_through", "write_around" } })
    self.aside = open(".aside", {})
    for id = 1, outage.rows + 2 do
        self.history[id] = {}
        self:became(id, self:price(id))
    end
    if options.cold then
        return
    end
    self.other:ask("return open(%q, %q, %q, %g, %g)", self.name, options.url or self.proxy.url, self.file,
        options.ttl or 3, options.l2_timeout or 0.2)
    self:warm()
end

function methods:warm()
    redis.wait_until(function()
        for id = 1, outage.rows do
            self.through:get("item:" .. id)
        end
        self.around:get "item:6"
        self.around:get "item:7"
        self.other:ask("return read_all(%d)", outage.rows)
        self.aside:get("v", function() return self.notes.v end)
        return select(2, self.through:peek "item:1") == "l1" and select(2, self.aside:peek "v") == "l1"
            and self.other:ask "return held('item:1')" ~= "miss"
    end, nil, "warm caches")
end

function methods:finish()
    self.other:ask "return close()"
    for _, name in ipairs { "through", "around", "aside" } do
        local cache = self[name]
        self[name] = nil
        assert.is_true(cache == nil or cache:close(0.2))
    end
end

-- After a spec that failed in the midst of a fault: all is well again.
function methods:mend()
    self.tick = nil
    if not self.through then
        return
    end
    self.other:kill()
    self.proxy "pass"
    if self.server.pid then
        self.server:resume()
    end
    self.server:restart()
    self.db:query("INSERT OR REPLACE INTO items (id, name, price) VALUES (2, 'again', 2)")
    self.other = hire()
    for _, name in ipairs { "through", "around", "aside" } do
        self[name]:close(0)
        self[name] = nil
    end
end

-- ---- calls ---------------------------------------------------------------------------------------------------------

-- fn(...) must end within ms and the slack; gives what it gave.
function methods:timed(ms, what, fn, ...)
    if self.tick then
        self.tick()
    end
    local from = posix.now()
    local a, b, c = fn(...)
    local took = posix.now() - from
    self.calls, self.slowest = self.calls + 1, math.max(self.slowest, took)
    self.excess = math.max(self.excess, took - ms)
    assert.is_true(took <= ms + outage.slack_ms, ("%s took %.0f ms, its deadline was %.0f ms"):format(what, took, ms))
    return a, b, c
end

function methods:read(cache, id)
    local from = self:price(id)
    local at = posix.now()
    local row, err, outcome = self:timed(self.ms, "get", cache.get, cache, "item:" .. id, self.opts)
    assert.is_nil(err, tostring(err))
    if row and self.old_until and at < self.old_until then
        self.n_old = self.n_old + (self:judge(id, row.price, at) and 1 or 0)
    else
        assert.equal(from, row and row.price, ("item %d, %s"):format(id, tostring(outcome)))
    end
    return outcome
end

function methods:fresh_price()
    self.next = self.next + 1
    return self.next
end

-- A write through the source stands, whatever becomes of the tiers.
function methods:write(cache, id)
    local price = self:fresh_price()
    local row = { price = price }
    local version, err = self:timed(self.ms, "set", cache.set, cache, "item:" .. id, row, self.opts)
    assert.is_string(version, tostring(err))
    assert.equal(price, self:price(id))
    self:became(id, price)
end

-- A caller in a hurry, whom L1 does not answer, is given the value, or told that his time is over.
function methods:hurry(cache, id)
    local opts = { timeout = 0.06, refresh = true }
    local row, err = self:timed(60, "get of 60 ms", cache.get, cache, "item:" .. id, opts)
    if row then
        assert.equal(self:price(id), row.price)
    else
        assert.equal("timeout", err.code, tostring(err))
    end
end

local function code(value, err)
    return value and "ok" or err.code
end

-- Writes of the tiers alone: what they are told. wanted: "fails", "fine" or nil, either.
function methods:tiers(wanted)
    local c, ms = self.aside, 1200
    local loads = function() return self.notes.v end
    assert.equal(self.notes.v, (self:timed(ms, "get aside", c.get, c, "v", { timeout = 1 }, loads)))
    self.notes.v = self:fresh_price()
    local told = { code(self:timed(ms, "invalidate", c.invalidate, c, "v")) }
    assert.equal(self.notes.v, (self:timed(ms, "get aside", c.get, c, "v", { timeout = 1 }, loads)), "after invalidate")
    self.notes.v = self:fresh_price()
    told[2] = code(self:timed(ms, "delete", c.delete, c, "v", { timeout = 1 }))
    assert.equal(self.notes.v, (self:timed(ms, "get aside", c.get, c, "v", { timeout = 1 }, loads)), "after delete")
    local new = self:fresh_price()
    local set = code(self:timed(ms, "set aside", c.set, c, "s", new, { timeout = 1 }))
    if set ~= "ok" and set ~= "lost" then
        self.refused[new] = set -- certainly no effect
    end
    for _, one in ipairs(told) do
        assert.is_true(one == "ok" or one == "lost", one)
        if wanted then
            assert.equal(wanted == "fails" and "lost" or "ok", one)
        end
    end
    assert.is_true(set == "ok" or set == "lost" or set == "unavailable" or set == "timeout", set)
    if wanted then
        assert.equal(wanted == "fine", set == "ok", set)
    end
    self:timed(ms, "invalidate_all", c.invalidate_all, c)
end

-- Every verb of every pattern once, while the fault is on.
function methods:use(fault)
    self.refused = self.refused or {}
    self.other:tell("return read_all(%d, %g)", outage.rows, self.opts.timeout)
    local from = posix.now()
    if not fault.slow then -- who gives up before the lease's answer came leaves a lease behind
        self:hurry(self.through, 4)
    end
    for id = 1, outage.rows do
        self:read(self.through, id)
    end
    self:read(self.around, 6)
    self:write(self.around, 6)
    self:read(self.around, 6)
    self:read(self.around, 7)
    self:write(self.through, 1)
    self:read(self.through, 1)
    self:timed(self.ms, "delete", self.through.delete, self.through, "item:2", self.opts)
    assert.is_nil(self:price(2))
    self:read(self.through, 2)
    self:became(2, "absent")
    self.db:query("INSERT INTO items (id, name, price) VALUES (2, 'again', ?)", 2)
    self.through:invalidate "item:2"
    self:became(2, 2)
    self:write(self.through, 2)
    self:write(self.through, 3)
    self.through:invalidate "item:3"
    self:read(self.through, 3)
    local keys = { "item:1", "item:2", "item:3", "item:4" }
    local values, errs = self:timed(self.ms, "get_many", self.through.get_many, self.through, keys, self.opts)
    for id = 1, 4 do
        assert.is_nil(errs[keys[id]], tostring(errs[keys[id]]))
        assert.equal(self:price(id), values[keys[id]].price)
    end
    self:tiers(fault.tiers)
    self:heard_of(from)
end

-- What the other process read since it was told.
function methods:heard_of(from)
    local text = self.other:hear()
    for id, word in text:gmatch "(%d+)=(%w+)" do
        self:judge(tonumber(id), tonumber(word) or word, from)
    end
    local ms = tonumber(text:match "ms=(%d+)")
    assert.is_true(ms <= self.ms + outage.slack_ms, ("the other's read took %d ms"):format(ms))
end

-- ---- afterwards ----------------------------------------------------------------------------------------------------

-- Is it as it should be without faults? Gives what is not.
function methods:lacks()
    local price = self:fresh_price()
    local version, err = self.through:set("item:5", { price = price }, self.opts)
    assert.is_string(version, tostring(err))
    self:became(5, price)
    local there = self.other:ask "return read('item:5')"
    if there ~= price .. " l2" and there ~= price .. " l1" then
        return "the other reads " .. there
    end
    for _, name in ipairs { "through", "around" } do
        local key = name == "around" and "item:6" or "item:4"
        self[name]:get(key, { timeout = 1 })
        local outcome = select(3, self[name]:get(key, { timeout = 1 }))
        if outcome ~= "l1" and outcome ~= "l2" then
            return ("%s: %s"):format(name, tostring(outcome))
        end
    end
    local fine
    fine, err = self.aside:invalidate "v"
    if not fine then
        return "invalidate: " .. tostring(err)
    end
    fine, err = self.aside:set("t", 1, { timeout = 1 })
    if not fine then
        return "set: " .. tostring(err)
    end
    for id = 1, outage.rows do
        local row = self.through:get("item:" .. id, { timeout = 1 })
        if not row or row.price ~= self:price(id) then
            return ("item %d is %s here"):format(id, row and row.price or "nothing")
        end
        local word = self.other:ask("return read('item:%d')", id):match "^%S+"
        if word ~= ("%d"):format(self:price(id)) then
            return ("item %d is %s there"):format(id, word)
        end
    end
end

-- The fault is over: within a second all serve as ever, the values are the table's, and stay so.
function methods:recovers(within_ms)
    local from, lack = posix.now(), "all"
    self.tick = nil
    while lack do
        lack = self:lacks()
        local took = posix.now() - from
        local fine = not lack or took <= (within_ms or outage.heal_ms)
        assert.is_true(fine, ("%.0f ms after the fault: %s"):format(took, tostring(lack)))
    end
    local took = posix.now() - from
    for id = 1, outage.rows do
        assert.equal(self:price(id), self.through:get("item:" .. id).price)
        assert.equal(("%d"):format(self:price(id)), self.other:ask("return read('item:%d')", id):match "^%S+")
    end
    local s = self.aside:get("s", { timeout = 1 })
    assert.is_nil(s and (self.refused or {})[s], "a set that had no effect has one")
    return took
end

-- A change there is heard here, while an entry is held.
function methods:hears()
    redis.wait_until(function()
        self.through:get "item:4"
        return select(2, self.through:peek "item:4") == "l1"
    end, nil, "an entry in L1")
    local price = self:fresh_price()
    local from = posix.now()
    self.other:ask("return set('item:4', %d)", price)
    self:became(4, price)
    redis.wait_until(function()
        local row = self.through:get "item:4"
        return row.price == price
    end, nil, "the change")
    return posix.now() - from
end

return outage
