-- shared_changes_spec.lua - what other programs changed while no process of the namespace ran, or in the moment in
-- which they were killed, reaches the shared tier with the process that starts next. (P7, R5)
--
-- The bound: from its first use on a process may give what lies in Redis until its first pulse was answered, one
-- interval of `changes` (0.1 s) has passed, and the drops it sends are confirmed; never after that. LATE_MS leaves
-- room for a busy machine.

local bed = require "spec.support.bed"
local crew = require "spec.support.crew"
local larder = require "larder"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local sqlite = require "larder.sqlite"

local LATE_MS, TTL = 1000, 300
local server, file, db, remove, name, n, price
local hired, slowest

local function worker(lua)
    local one = crew.hire("spec.support.reader", { lua = lua })
    hired[#hired + 1] = one
    return one
end

local function start(lua, from)
    local one = worker(lua)
    one:ask("return open(%q, %q, %q, %d)", name, server.url, from or file, TTL)
    return one
end

-- Another program.
local function write(id)
    price = price + 1
    assert(db:query("UPDATE items SET price = ? WHERE id = ?", price, id))
    return tostring(price)
end

local function newest()
    return db:query("SELECT seq FROM sqlite_sequence WHERE name = 'ldr_changes'")[1].seq
end

local function mark()
    return server:call("HGET", "ldr1.bell:" .. name, "m")
end

local function marked()
    redis.wait_until(function()
        return mark() == tostring(newest())
    end, 3000, "the mark")
end

local function read(one, id)
    return one:ask("return read('item:%d')", id):match "^%S+"
end

-- Within the bound the process gives that, and nothing else from then on.
local function comes_to(want, one, id, from)
    redis.wait_until(function()
        return read(one, id) == want
    end, math.max(1, LATE_MS - (posix.now() - from)), "the new row")
    slowest = math.max(slowest, posix.now() - from)
    for _ = 1, 50 do
        assert.equal(want, read(one, id))
    end
end

-- All rows lie in Redis.
local function fill(lua)
    local one = start(lua)
    one:ask "return read_all(5)"
    return one
end

local function held(id)
    return server:call("GET", ("ldr1:%s:item:%d"):format(name, id)) ~= nil
end

describe("changes that nobody saw", function()
    setup(function()
        server = redis.start()
        n, slowest = 0, 0
    end)

    before_each(function()
        file, db, remove = bed.items { changes = true }
        hired, price, n = {}, 1000, n + 1
        name = "absence" .. n
    end)

    after_each(function()
        for _, one in ipairs(hired) do
            one:kill()
        end
        remove()
    end)

    teardown(function()
        server:close()
        print(("# the first process gives what is so within %.0f ms of its start"):format(slowest))
    end)

    for _, lua in ipairs(crew.luas) do
        for how, ends in pairs { ["kill -9"] = "kill", close = "close" } do
            it(("while no process ran, after %s, %s"):format(how, lua), function()
                local one = fill(lua)
                marked()
                one[ends](one)
                local want = write(2)
                assert.is_true(held(2))
                local from = posix.now()
                local other = start(lua)
                comes_to(want, other, 2, from)
                assert.equal("30", read(other, 3))
                marked()
            end)
        end

        it("in the moment in which all were killed, " .. lua, function()
            for i = 1, bed.count(20, 4) do
                local one, two = fill(lua), start(lua)
                if i % 2 == 0 then
                    marked()
                end
                local want = write(2)
                posix.sleep(i % 4 * 40)
                one:kill()
                two:kill()
                local from = posix.now()
                local other = start(lua)
                comes_to(want, other, 2, from)
                other:kill()
            end
        end)

        it("when their rows are pruned, " .. lua, function()
            local one = fill(lua)
            marked()
            one:kill()
            local want = write(2)
            assert(db:exec "DELETE FROM ldr_changes")
            local from = posix.now()
            comes_to(want, start(lua), 2, from)
            marked()
        end)

        it("when there is no mark, " .. lua, function()
            local one = fill(lua)
            marked()
            one:kill()
            server:call("HDEL", "ldr1.bell:" .. name, "m")
            local want = write(2)
            local from = posix.now()
            comes_to(want, start(lua), 2, from)
            marked()
        end)

        it("by a process that finds the server away, " .. lua, function()
            local one = fill(lua)
            marked()
            one:kill()
            local two, three = write(2), write(3)
            server:pause()
            local other = start(lua)
            assert.equal(two, read(other, 2)) -- of the source
            posix.sleep(300)
            local four = write(4)
            server:resume()
            local from = posix.now() -- it may go on from the source, and then give what lies there until its first look
            redis.wait_until(function()
                read(other, 3)
                return mark() == tostring(newest()) or posix.now() - from > LATE_MS
            end)
            comes_to(three, other, 3, posix.now())
            comes_to(two, other, 2, posix.now())
            comes_to(four, other, 4, posix.now())
            marked()
        end)

        it("of a database that was made anew, " .. lua, function()
            local one = fill(lua)
            for _ = 1, 10 do
                write(2)
            end
            marked()
            one:kill()
            local anew, fresh, gone = bed.items { changes = true }
            assert(fresh:query "UPDATE items SET price = 7 WHERE id = 2")
            local from = posix.now()
            local other = start(lua, anew)
            comes_to("7", other, 2, from)
            redis.wait_until(function()
                return mark() == "6"
            end, 3000, "the mark")
            gone()
        end)
    end

    for _, bus in ipairs { "pubsub", false } do
        it("with bus = " .. tostring(bus), function()
            local function open()
                return assert(larder.open { name = name, l2 = server.url, bus = bus, ttl = TTL,
                    source = larder.source.sqlite { file = file, models = {
                        item = { table = "items", version = "version" } } } })
            end
            local cache = open()
            assert.equal(20, cache:get("item:2").price)
            marked()
            cache:close()
            local want = tonumber(write(2))
            cache = open()
            redis.wait_until(function()
                return cache:get("item:2").price == want
            end, LATE_MS, "the new row")
            cache:close()
        end)
    end

    it("while none had a change table", function()
        remove()
        file, db, remove = bed.items {}
        fill():kill()
        assert.is_nil(mark())
        assert(sqlite.migrate { file = file, table = "items", changes = true, mode = "apply" })
        local want = write(3)
        local from = posix.now()
        comes_to(want, start(), 3, from)
    end)
end)
