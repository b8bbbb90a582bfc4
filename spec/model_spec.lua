-- model_spec.lua - long random lives of a cache beside a model of a few lines, on a clock that the test moves: each
-- verb must give what the model gives, to the microsecond.

local larder = require "larder"
local race = require "spec.support.race"

local TTL, STALE, NEGATIVE = 10, 7, 4

-- The model: rows[key] = { value (nil: absent), soft, hard, version }, times in microseconds.
local model = {}
model.__index = model

function model:state(key, now)
    local row = self[key]
    if not row or now >= row.hard then
        return "miss"
    elseif row.value == nil then
        return now < row.soft and "absent" or "miss", row
    end
    return now < row.soft and "l1" or "stale", row
end

function model:keep(key, value, now, ttl, stale)
    ttl = ttl or value == nil and NEGATIVE or TTL
    if ttl == 0 then
        self[key] = nil
        return
    end
    local soft = now + math.max(ttl * 1000000, 1000)
    self[key] = { value = value, soft = soft, hard = soft + (value == nil and 0 or (stale or STALE) * 1000000) }
end

-- A load that failed is tried again after 1 s, doubling to 30 s, as long as a stale value can be given.
function model:waits(key, now)
    local last = self.backoff[key]
    return last ~= nil and now < last.retry
end

function model:failed(key, now)
    local last = self.backoff[key]
    local delay = last and math.min(last.delay * 2, 30000000) or 1000000
    self.backoff[key] = { delay = delay, retry = now + delay }
end

local function life(host)
    local c = larder.open { host = host, ttl = TTL, stale_ttl = STALE, negative_ttl = NEGATIVE, l1 = { shards = 1 } }
    local m = setmetatable({}, { __index = setmetatable({ backoff = {} }, model) })
    local draw = host.draw
    local log = {}
    local function same(what, expected, got)
        if expected ~= got then
            error(("%s: %s wanted, got %s; after\n%s"):format(what, tostring(expected), tostring(got),
                table.concat(log, "\n", math.max(1, #log - 12))), 0)
        end
    end
    local function check(what, key, value, outcome)
        local state, row = m:state(key, math.floor(host:now() * 1e6 + 0.5))
        same(what .. " " .. key, state, outcome)
        same(what .. " " .. key, (state == "l1" or state == "stale") and row.value or nil, value)
    end

    local function now()
        return math.floor(host:now() * 1e6 + 0.5)
    end
    local ttls = { 0, 1, 3, 0.0000001, 20 }
    local verbs = {}
    function verbs.set(key)
        local ttl, stale = draw(2) == 1 and ttls[draw(#ttls)] or nil, draw(3) == 1 and draw(5) - 1 or nil
        assert(c:set(key, draw(1000), { ttl = ttl, stale_ttl = stale }))
        assert(c:set(key, log.n, { ttl = ttl, stale_ttl = stale }))
        m:keep(key, log.n, now(), ttl, stale)
    end
    function verbs.get(key)
        local value, err, outcome = c:get(key)
        same("err", nil, err)
        local state = m:state(key, now())
        same("get " .. key, state == "stale" and "miss" or state, outcome)
        same("get " .. key, state == "l1" and m[key].value or nil, value)
    end
    function verbs.weak(key)
        local value, _, outcome = c:get(key, { consistency = "weak" })
        check("weak get", key, value, outcome)
    end
    function verbs.load(key)
        local state = m:state(key, now())
        local loaded = draw(4) > 1 and log.n or nil
        local value, _, outcome = c:get(key, function() return loaded end)
        if state == "l1" or state == "absent" or state == "stale" and m:waits(key, now()) then
            check("load", key, value, outcome)
        else
            m.backoff[key] = nil
            same("load " .. key, loaded and "loaded" or "absent", outcome)
            same("load " .. key, loaded, value)
            m:keep(key, loaded, now())
        end
    end
    function verbs.fail(key)
        local state, row = m:state(key, now())
        if state == "miss" or state == "stale" and not m:waits(key, now()) then
            m:failed(key, now())
        end
        local value, err, outcome = c:get(key, function() error "down" end)
        if state == "miss" then
            same("failed load", "loader", err and err.code)
        else
            same("failed load " .. key, state, outcome)
            same("failed load " .. key, row.value, value)
        end
    end
    function verbs.refresh(key)
        local loaded = draw(4) > 1 and log.n or nil
        local value, _, outcome = c:refresh(key, function() return loaded end)
        m.backoff[key] = nil
        same("refresh", loaded, value)
        same("refresh", loaded and "loaded" or "absent", outcome)
        m:keep(key, loaded, now())
    end
    function verbs.touch(key)
        local state, row = m:state(key, now())
        local ttl = ttls[draw(#ttls)]
        same("touch " .. key, state ~= "miss", c:touch(key, ttl))
        if state ~= "miss" then
            local stale = row.hard - row.soft
            row.soft = now() + (ttl == 0 and 0 or math.max(ttl * 1000000, 1000))
            row.hard = row.soft + stale
        end
    end
    function verbs.delete(key)
        same("delete", true, (c:delete(key)))
        m[key] = nil
    end
    function verbs.invalidate(key)
        same("invalidate", true, (c:invalidate(key)))
        m[key] = nil
    end
    function verbs.write(key)
        same("write", log.n, (c:write({ key }, function() return log.n end)))
        m[key] = nil
    end
    function verbs.all()
        if draw(10) == 1 then
            c:invalidate_all()
            for key in pairs(m) do
                m[key] = nil
            end
        end
    end
    function verbs.many(key)
        local other = "k" .. draw(6)
        local values = c:get_many { key, other }
        for _, k in ipairs { key, other } do
            same("get_many " .. k, m:state(k, now()) == "l1" and m[k].value or nil, values[k])
        end
    end
    function verbs.advance()
        local steps = { 0.000001, 0.001, 0.5, 1, 3, 7, 0.999999 }
        host:advance(steps[draw(#steps)])
    end
    verbs.advance2, verbs.get2, verbs.load2 = verbs.advance, verbs.get, verbs.load

    local names = {}
    for name in pairs(verbs) do
        names[#names + 1] = name
    end
    table.sort(names)
    for n = 1, 300 do
        local name, key = names[draw(#names)], "k" .. draw(6)
        log.n = n
        log[n] = ("%d: %s %s at %.6f"):format(n, name, key, host:now())
        verbs[name](key)
        local value, outcome = c:peek(key)
        check("peek", key, value, outcome)
    end
    c:close()
end

describe("a cache beside its model", function()
    it(("gives what the model gives, in %d lives of 300 verbs (seeds from %d)"):format(race.n, race.seed), function()
        race.all(life)
    end)
end)
