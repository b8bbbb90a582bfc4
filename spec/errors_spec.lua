-- errors_spec.lua - error objects, misuse that points at the user's line, and texts of anything that can be raised.

local errors = require "larder.errors"
local options = require "larder.options"

local function here()
    local info = debug.getinfo(2, "Sl")
    return ("%s:%d: "):format(info.short_src, info.currentline)
end

describe("an error object", function()
    it("has code, message, cause and further fields", function()
        local cause = {}
        local e = errors.new("conflict", "another version", cause, { version = "7", errs = 1, remaining = 2 })
        assert.equal("conflict", e.code)
        assert.equal("another version", e.message)
        assert.equal(cause, e.cause)
        assert.equal("7", e.version)
        assert.equal(2, e.remaining)
        assert.equal("conflict: another version", tostring(e))
        assert.equal("got conflict: another version.", "got " .. e .. ".")
    end)

    it("is told from other tables", function()
        assert.is_true(errors.is(errors.new("busy", "x")))
        for _, other in ipairs { {}, "busy", 1, { code = "busy" } } do
            assert.is_false(errors.is(other))
        end
        assert.is_false(errors.is(nil))
    end)
end)

describe("misuse", function()
    it("points at the user's line, directly", function()
        local _, e = pcall(function()
            errors.misuse(1, "wrong %s", "thing")
        end)
        assert.matches("errors_spec%.lua:%d+: wrong thing$", e)
    end)

    it("points at the user's line through every layer of Larder", function()
        local at
        local _, e = pcall(function()
            at = here(); options.open { l1 = { bytes = -1 } }
        end)
        assert.equal(at, e:sub(1, #at))
    end)

    it("points at whoever called pcall when that called Larder", function()
        local at = here(); local _, e = pcall(options.open, { ttl = -1 })
        assert.equal(at, e:sub(1, #at))
    end)

    it("has no position where no line of a user is on the stack", function()
        local _, e = coroutine.resume(coroutine.create(options.open), { ttl = -1 })
        assert.matches("^larder%.open: ttl", e)
    end)

    it("leaves a percent sign alone without arguments", function()
        local _, e = pcall(errors.misuse, 1, "100%")
        assert.matches("100%%$", e)
    end)
end)

describe("the text of what was raised", function()
    it("never fails", function()
        local odd = setmetatable({}, { __tostring = function()
            error("no")
        end })
        local number = setmetatable({}, { __tostring = function()
            return 3
        end })
        assert.equal("boom", errors.text("boom"))
        assert.equal("nil", errors.text(nil))
        assert.equal("(a table that cannot be shown)", errors.text(odd))
        assert.equal("string", type(errors.text(number)))
        assert.equal("busy: x", errors.text(errors.new("busy", "x")))
    end)

    it("comes from the handler with a traceback and the cause", function()
        local thrown = {}
        local function deep()
            error(thrown)
        end
        local _, e = xpcall(deep, errors.handler)
        assert.equal("loader", e.code)
        assert.equal(thrown, e.cause)
        assert.matches("stack traceback", e.message)
        assert.matches("errors_spec", e.message)
    end)

    it("comes from the handler for nil too", function()
        local _, e = xpcall(error, errors.handler)
        assert.equal("loader", e.code)
        assert.is_nil(e.cause)
        assert.matches("^nil", e.message)
    end)

    it("is traced in the coroutine that died", function()
        local co = coroutine.create(function()
            error("dead", 0)
        end)
        local _, e = coroutine.resume(co)
        assert.matches("^dead\nstack traceback", errors.trace_of(co, e))
    end)

    it("shows what was got", function()
        assert.equal("NaN", errors.show(0 / 0))
        assert.equal('"a\\x00b"', errors.show("a\0b"))
        assert.equal("a table", errors.show {})
        assert.equal("nil", errors.show(nil))
        assert.equal("true", errors.show(true))
        assert.is_true(#errors.show(("x"):rep(1000)) < 50)
    end)
end)
