-- events_spec.lua - handlers: order, coming and going while one runs, and errors that stop nothing.

local events = require "larder.events"
local errors = require "larder.errors"

describe("events", function()
    local reg, log, reports

    local function noting(word)
        return function(e)
            log[#log + 1] = word .. (e.key or "")
        end
    end

    before_each(function()
        log, reports = {}, {}
        reg = events.new(function(err)
            reports[#reports + 1] = err
        end)
    end)

    it("reach the handlers of their name, in order", function()
        reg:on("hit", noting "a")
        reg:on("miss", noting "b")
        reg:on("hit", noting "c")
        reg:fire { name = "hit", key = 1 }
        reg:fire { name = "nobody" }
        assert.same({ "a1", "c1" }, log)
    end)

    it("are wanted or not", function()
        assert.is_false(reg:has "mine")
        local off1, off2 = reg:on("mine", noting "a"), reg:on("mine", noting "b")
        assert.is_true(reg:has "mine")
        off1()
        off1()
        assert.is_true(reg:has "mine")
        off2()
        assert.is_false(reg:has "mine")
        reg:fire { name = "mine" }
        assert.same({}, log)
    end)

    it("take one function twice", function()
        local fn = noting "x"
        local off = reg:on("hit", fn)
        reg:on("hit", fn)
        off()
        reg:fire { name = "hit" }
        assert.same({ "x" }, log)
    end)

    it("go on after a handler that raises, and report it", function()
        reg:on("hit", function()
            error("bad handler")
        end)
        reg:on("hit", function()
            error(nil)
        end)
        reg:on("hit", noting "after")
        reg:fire { name = "hit" }
        assert.same({ "after" }, log)
        assert.equal(2, #reports)
        assert.equal("loader", reports[1].code)
        assert.matches('event "hit" failed: .*bad handler.*traceback', reports[1].message)
        assert.is_true(errors.is(reports[2]))
    end)

    it("survive a report that raises, and none", function()
        reg = events.new(function()
            error("twice")
        end)
        for _, r in ipairs { reg, events.new() } do
            r:on("hit", error)
            r:on("hit", noting "fine")
            r:fire { name = "hit" }
        end
        assert.same({ "fine", "fine" }, log)
    end)

    it("let handlers come and go while one runs", function()
        local off_later
        reg:on("hit", function()
            off_later()
            reg:on("hit", noting "new")
        end)
        off_later = reg:on("hit", noting "gone")
        reg:on("hit", noting "kept")
        reg:fire { name = "hit" }
        assert.same({ "kept" }, log)
        reg:fire { name = "hit" }
        assert.same({ "kept", "kept", "new" }, log)
    end)

    it("may be fired by a handler, and handlers may yield", function()
        reg:on("outer", function()
            coroutine.yield("from a handler")
            reg:fire { name = "inner" }
        end)
        reg:on("outer", noting "outer")
        reg:on("inner", noting "inner")
        local step = coroutine.wrap(function()
            reg:fire { name = "outer" }
            return "end"
        end)
        assert.equal("from a handler", step())
        assert.equal("end", step())
        assert.same({ "inner", "outer" }, log)
    end)

    it("refuse what is no name and no function, at the user's line", function()
        for _, bad in ipairs { { 1, print }, { "", print }, { "hit", 5 }, { "hit" } } do
            local fine, e = pcall(reg.on, reg, bad[1], bad[2])
            assert.is_false(fine)
            assert.matches("events_spec%.lua:%d+: cache:on: ", e)
        end
    end)
end)
