-- scheduler_spec.lua - tasks side by side: waits, timers, errors, coroutines of the user's own, on a virtual clock
-- with a seed; and the blocking host on a real mailbox where the module is built.

local blocking = require "larder.host.blocking"
local heap = require "larder.host.heap"
local test = require "larder.host.test"

local SEED = tonumber(os.getenv("LARDER_SEED")) or os.time()
local ROUNDS = os.getenv("LARDER_PROVE") == "1" and 2000 or 50

local function raised(f, ...)
    local fine, e = pcall(f, ...)
    assert.is_false(fine)
    return e
end

describe("tasks", function()
    local s, log

    local function note(word)
        log[#log + 1] = word
    end

    before_each(function()
        s, log = test.new { seed = 7 }, {}
    end)

    it("run until all have ended, those they spawned too", function()
        local from = s:now()
        assert.is_true(s:run(function()
            s:spawn(function(a, b, c)
                s:sleep(2)
                note(tostring(a) .. tostring(b) .. tostring(c))
            end, 1, nil, 3)
            s:sleep(1)
            note("one")
        end))
        assert.same({ "one", "1nil3" }, log)
        assert.equal(2, s:now() - from)
    end)

    it("may be given as a list, as callable tables, or not at all", function()
        local callable = setmetatable({}, { __call = function()
            note("called")
        end })
        s:run { callable, callable }
        s:run(callable)
        s:run {}
        s:run()
        assert.equal(3, #log)
    end)

    it("sleep side by side in the order of their time", function()
        s:run(function()
            s:sleep(3)
            note(3)
        end, function()
            s:sleep(1)
            note(1)
        end, function()
            s:sleep(2)
            note(2)
        end)
        assert.same({ 1, 2, 3 }, log)
    end)

    it("take turns when the user yields, and get nothing for it", function()
        s = blocking.new { now = os.clock, wait = function()
            return {}
        end }
        s:run(function()
            note(select("#", coroutine.yield("a", 1)))
            note("a")
        end, function()
            note("b")
            coroutine.yield()
            note("c")
        end)
        assert.same({ "b", 0, "a", "c" }, log)
    end)

    it("wake each other, also before the other waits", function()
        s:wake(5)
        s:run(function()
            assert.is_true(s:wait(5))
            assert.is_true(s:wait(1))
            note("woken")
        end, function()
            s:sleep(1)
            note("waking")
            s:wake(1)
        end)
        assert.same({ "waking", "woken" }, log)
    end)

    it("forget a wake that nobody will ask for", function()
        s:wake(5)
        s:forget(5)
        assert.is_false((s:wait(5, s:now() + 1)))
    end)

    it("all wake who wait for one id", function()
        local n = 0
        local list = {}
        for i = 1, 100 do
            list[i] = function()
                local woken, why = s:wait(9, s:now() + (i % 2 == 0 and 1 or 5))
                n = n + (woken and 1 or 1000)
                assert.equal(not woken and "deadline" or nil, why)
            end
        end
        list[101] = function()
            s:sleep(2)
            s:wake(9)
        end
        s:run(list)
        assert.equal(50 * 1000 + 50, n)
        assert.same({}, s.waiting)
        assert.equal(0, s.timers.n)
    end)

    it("stop waiting at their deadline", function()
        local from = s:now()
        s:run(function()
            local woken, why = s:wait(1, from + 3)
            assert.same({ false, "deadline" }, { woken, why })
            assert.equal(3, s:now() - from)
            assert.is_false((s:wait(1, from)))
        end)
    end)

    it("nest: a run within a task waits for its own only", function()
        s:run(function()
            s:run(function()
                s:sleep(1)
                note("inner")
            end)
            note("after inner")
        end, function()
            s:sleep(5)
            note("other")
        end)
        assert.same({ "inner", "after inner", "other" }, log)
    end)

    it("know themselves, and coroutines of the user are not tasks", function()
        assert.is_nil(s:current())
        s:run(function()
            local me = s:current()
            assert.is_table(me)
            assert.is_nil(coroutine.wrap(function()
                return s:current()
            end)())
            s:sleep(0)
            assert.equal(me, s:current())
        end)
        assert.is_nil(s:current())
    end)

    it("may be a thousand on one id", function()
        local n, list = 0, {}
        for i = 1, 1000 do
            list[i] = function()
                assert.is_true(s:wait(1, s:now() + 60))
                n = n + 1
            end
        end
        list[1001] = function()
            s:sleep(1)
            s:wake(1)
        end
        s:run(list)
        assert.equal(1000, n)
    end)
end)

describe("errors of tasks", function()
    local s

    before_each(function()
        s = test.new { seed = 7 }
    end)

    it("are raised when all have ended, the first one, with a traceback", function()
        local ended = false
        local e = raised(s.run, s, function()
            s:sleep(1)
            error("first")
        end, function()
            s:sleep(2)
            error("second")
        end, function()
            s:sleep(3)
            ended = true
        end)
        assert.matches("scheduler_spec%.lua:%d+: first\nstack traceback", e)
        assert.is_true(ended)
    end)

    it("stay the same object when they are no strings", function()
        local thrown = setmetatable({}, { __tostring = error })
        assert.equal(thrown, raised(s.run, s, function()
            error(thrown)
        end))
        assert.is_nil(raised(s.run, s, function()
            error(nil)
        end))
    end)

    it("of a nested run are raised in the task that made it", function()
        local got
        s:run(function()
            got = raised(s.run, s, function()
                s:sleep(1)
                error({ "mine" })
            end)
        end)
        assert.same({ "mine" }, got)
    end)

    it("close what 5.4 had to close", function()
        if not coroutine.close then
            return
        end
        local closed = false
        local body = load([[
            local guard, s = ...
            local x <close> = guard
            s:sleep(1)
            error("dead")
        ]])
        raised(s.run, s, function()
            body(setmetatable({}, { __close = function()
                closed = true
            end }), s)
        end)
        assert.is_true(closed)
    end)

    it("leave the host in order", function()
        raised(s.run, s, function()
            error("x")
        end)
        local fine = false
        s:run(function()
            s:sleep(1)
            fine = true
        end)
        assert.is_true(fine)
    end)

    it("are misuse at the user's line for what is no function, no time, no run", function()
        assert.matches("scheduler_spec%.lua:%d+: larder%.run: a function is wanted, got 5", raised(s.run, s, print, 5))
        assert.matches("scheduler_spec%.lua:%d+: larder%.run: a function is wanted, got nil",
            raised(s.run, s, nil, print))
        assert.matches("larder%.spawn: only inside larder%.run", raised(s.spawn, s, print))
        for _, bad in ipairs { -1, 0 / 0, math.huge, "1", true } do
            assert.matches("larder%.sleep: the time must be seconds", raised(s.sleep, s, bad))
        end
    end)

    it("say when nobody can wake a wait", function()
        local other = false
        local e = raised(s.run, s, function()
            s:wait(404)
        end, function()
            s:sleep(1)
            other = true
        end)
        assert.matches("scheduler_spec%.lua:%d+: larder%.run: deadlock", e)
        assert.is_true(other)
        assert.matches("deadlock", raised(s.wait, s, 404))
    end)

    it("let the others go on when one of a deadlock raises", function()
        local woken
        local e = raised(s.run, s, function()
            local fine = pcall(s.wait, s, 1)
            s:wake(2)
            assert(fine, "first gave up")
        end, function()
            s:sleep(1)
            woken = s:wait(2)
        end)
        assert.matches("first gave up", e)
        assert.is_true(woken)
    end)
end)

describe("whoever is no task", function()
    local s, log

    before_each(function()
        s, log = test.new { seed = 7 }, {}
    end)

    it("just waits", function()
        local from = s:now()
        s:sleep(2)
        assert.is_false((s:wait(1, from + 5)))
        assert.equal(5, s:now() - from)
        assert.is_false(s:can_wait())
    end)

    it("runs the other tasks from a coroutine of the user's, which sees no yield of ours", function()
        s:run(function()
            local co = coroutine.create(function()
                s:sleep(2)
                log[#log + 1] = "slept"
                local got = coroutine.yield("mine")
                log[#log + 1] = got
            end)
            assert.same({ true, "mine" }, { coroutine.resume(co) })
            assert.same({ true }, { coroutine.resume(co, "back") })
        end, function()
            s:sleep(1)
            log[#log + 1] = "other"
        end)
        assert.same({ "other", "slept", "back" }, log)
    end)

    it("is woken by the tasks it runs", function()
        s:run(function()
            coroutine.wrap(function()
                assert.is_true(s:can_wait())
                assert.is_true(s:wait(3, s:now() + 9))
                log[#log + 1] = "woken"
            end)()
        end, function()
            s:sleep(1)
            s:wake(3)
        end)
        assert.same({ "woken" }, log)
    end)

    it("may be within a C function that cannot yield", function()
        s:run(function()
            local list = { 3, 1, 2 }
            table.sort(list, function(a, b)
                s:sleep(0.25)
                return a < b
            end)
            assert.same({ 1, 2, 3 }, list)
        end, function()
            s:sleep(0.1)
            log[1] = "other"
        end)
        assert.same({ "other" }, log)
    end)

    it("may spawn into the run of the task it is in", function()
        s:run(function()
            coroutine.wrap(function()
                s:spawn(function()
                    s:sleep(1)
                    log[1] = "spawned"
                end)
            end)()
        end)
        assert.same({ "spawned" }, log)
    end)

    it("learns that it stands above what could go on, when it may give up", function()
        local outer, inner
        s:run(function()
            coroutine.wrap(function()
                outer = s:wait(1, s:now() + 60)
            end)()
            s:wake(2)
        end, function()
            s:sleep(1)
            coroutine.wrap(function() -- runs within the wait of the first
                s:wake(1)
                inner = { s:wait(2, s:now() + 60, true) }
                assert.is_false(s:can_wait())
            end)()
        end)
        assert.is_true(outer)
        assert.same({ false, "blocked" }, inner)
    end)

    it("may be deep: pumps within pumps end in time", function()
        local n, list, from = 0, {}, s:now()
        for i = 1, 300 do
            list[i] = function()
                coroutine.wrap(function()
                    local could = s:can_wait()
                    local _, why = s:wait(1, from + 5, true)
                    n = n + 1
                    assert.is_true(could or why == "blocked")
                end)()
            end
        end
        s:run(list)
        assert.equal(300, n)
        assert.is_true(s:now() - from <= 5)
    end)
end)

describe("pcall", function()
    it("may stand between a task and its wait", function()
        local s = test.new()
        local got
        s:run(function()
            got = { pcall(function()
                s:sleep(1)
                error("after sleep", 0)
            end) }
        end)
        assert.same({ false, "after sleep" }, got)
    end)
end)

describe("posts from outside", function()
    it("wake tasks; dropped ones make all look again", function()
        local script = { { { 1 } }, { {} }, { { 2 }, true } }
        local n = 0
        local s = blocking.new { now = os.clock, wait = function(seconds)
            if seconds == 0 then
                return {}
            end
            n = n + 1
            return script[n][1], script[n][2]
        end }
        local log = {}
        local function waiter(id)
            return function()
                assert.is_true(s:wait(id))
                log[#log + 1] = id
            end
        end
        s:run(waiter(3), waiter(1), waiter(2))
        assert.same({ 1, 2, 3 }, log)
        assert.equal(3, n)
    end)

    it("are no longer waited for when none is pending", function()
        local s = blocking.new { now = os.clock, pending = function()
            return 0
        end, wait = function(seconds)
            assert(seconds == 0, "would block for ever")
            return {}
        end }
        assert.matches("deadlock", raised(s.wait, s, 1))
    end)

    it("that fail leave the host in order", function()
        local fail = true
        local s = blocking.new { now = os.clock, wait = function()
            if fail then
                error("no more", 0)
            end
            return { 1 }
        end }
        assert.equal("no more", raised(s.wait, s, 1))
        fail = false
        assert.is_true(s:wait(1))
        assert.equal(0, s.depth)
    end)
end)

describe("the test host", function()
    local function schedule(seed)
        local s = test.new { seed = seed, trace = true }
        local order = {}
        local list = {}
        for i = 1, 8 do
            list[i] = function()
                s:sleep(i % 3)
                order[#order + 1] = i
                coroutine.yield()
                order[#order + 1] = -i
            end
        end
        s:run(list)
        return table.concat(order, " "), table.concat(s:trace(), "\n")
    end

    it("gives the same schedule for the same seed, and others for others", function()
        local kinds, n = {}, 0
        for seed = 1, 20 do
            local order, trace = schedule(seed)
            local again, trace_again = schedule(seed)
            assert.equal(order, again)
            assert.equal(trace, trace_again)
            n = n + (kinds[order] and 0 or 1)
            kinds[order] = true
        end
        assert.is_true(n > 10)
    end)

    it("gives one schedule in every Lua", function()
        assert.equal("6 3 -6 -3 4 -4 7 -7 1 -1 2 -2 8 5 -8 -5", (schedule(42)))
    end)

    it("moves its clock only when nothing can run, exactly to the timer", function()
        local moves = {}
        local s = test.new { start = 10, moved = function(by, now)
            moves[#moves + 1] = { by, now }
        end }
        s:run(function()
            s:sleep(0.5)
            coroutine.yield()
            s:sleep(0.25)
        end)
        s:advance(1)
        assert.same({ { 0.5, 10.5 }, { 0.25, 10.75 }, { 1, 11.75 } }, moves)
    end)

    it("lets real work end before its clock moves", function()
        local left = 1
        local s = test.new { start = 0, pending = function()
            return left
        end, poll = function(seconds)
            if seconds == 0 then
                return {}
            end
            left = left - 1
            return { 77 }
        end }
        s:run(function()
            assert.is_true(s:wait(77, 5))
            assert.equal(0, s:now())
        end)
    end)
end)

describe("timers", function()
    it("come in order, whichever leave in between", function()
        print(("# timers: LARDER_SEED=%d"):format(SEED))
        math.randomseed(SEED)
        for _ = 1, ROUNDS do
            local h, all = heap.new(), {}
            for seq = 1, 60 do
                all[seq] = { at = math.random(20), seq = seq }
                h:push(all[seq])
                if math.random(3) == 1 then
                    h:remove(all[math.random(seq)])
                end
            end
            local left = 0
            for _, item in ipairs(all) do
                left = left + (item.place and 1 or 0)
            end
            local last = { at = 0, seq = 0 }
            while h:first() do
                local item = h:first()
                assert.is_true(last.at < item.at or last.at == item.at and last.seq < item.seq)
                h:remove(item)
                h:remove(item)
                last, left = item, left - 1
            end
            assert.equal(0, left)
        end
    end)
end)

-- The module where it is built: alone, or within the core.
local function real_loop()
    local fine, loop = pcall(require, "larder.loop")
    if fine then
        return loop
    end
    local path = package.searchpath("larder.core", package.cpath)
    local open = path and package.loadlib(path, "luaopen_larder_loop")
    return open and open()
end

describe("the real mailbox", function()
    local loop = real_loop()
    if not loop then
        pending("larder.loop is not built")
        return
    end

    it("wakes a blocking host", function()
        local l = assert(loop.new())
        local s = blocking.new { now = os.clock, wait = function(seconds)
            return l:wait(seconds)
        end }
        l:post(2)
        s:run(function()
            assert.is_true(s:wait(2))
            l:post(3)
        end, function()
            assert.is_true(s:wait(3))
        end)
        l:close()
    end)

    it("says what it holds, and when it dropped", function()
        local l = assert(loop.new())
        assert.is_true(l:fd() >= 0)
        for id = 1, 1500 do
            l:post(id)
        end
        local n, overflows = 0, 0
        repeat
            local ids, overflow = l:wait(0)
            n, overflows = n + #ids, overflows + (overflow and 1 or 0)
        until #ids == 0
        assert.equal(1024, n)
        assert.equal(1, overflows)
        l:close()
        l:close()
        assert.matches("closed", raised(l.wait, l))
        assert.matches("larder.loop expected", raised(l.wait, io.stdout))
    end)
end)
