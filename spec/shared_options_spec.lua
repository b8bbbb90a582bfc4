-- shared_options_spec.lua - how a cache with a shared tier is opened: what raises, what fails, what needs no server.

local bed = require "spec.support.bed"
local larder = require "larder"
local options = require "larder.options"
local redis = require "spec.support.redis"
local shared = require "spec.support.shared"

local misuse = bed.misuse
local NOBODY = "redis+unix:///nowhere/redis.sock"

describe("l2 and bus", function()
    it("have defaults", function()
        local o = options.open { name = "x", l2 = "redis://h" }
        assert.same({ true, "redis://h", 1, "pubsub" }, { o.l2, o.l2_url, o.l2_timeout, o.bus })
        assert.is_nil(o.l2_password)
        o = options.open { name = "x", l2 = { url = "redis://h", timeout = 0.5, password = "p" }, bus = false }
        assert.same({ "redis://h", 0.5, "p", false }, { o.l2_url, o.l2_timeout, o.l2_password, o.bus })
        o = options.open { l2 = false, bus = false }
        assert.same({ false, false }, { o.l2, o.bus })
    end)

    it("raise what is wrong, and valid names", function()
        misuse(function() local _ = larder.open { l2 = "redis://h" } end, "l2 needs a name")
        misuse(function() local _ = larder.open { name = "x", bus = "pubsub" } end, "pubsub", "needs an l2")
        misuse(function() local _ = larder.open { name = "x", l2 = 5 } end, "l2 must be a URL", "got 5")
        misuse(function() local _ = larder.open { name = "x", l2 = {} } end, "l2.url must be a URL")
        misuse(function() local _ = larder.open { name = "x", l2 = { uri = 1 } } end, "unknown option l2.uri",
            "valid are: l2.password, l2.timeout, l2.url")
    end)

    it("raise a time-out or a bus that is none", function()
        misuse(function() local _ = larder.open { name = "x", l2 = { url = NOBODY, timeout = 0 } } end, "l2.timeout")
        misuse(function() local _ = larder.open { name = "x", l2 = { url = NOBODY, timeout = "1" } } end, '"1"')
        misuse(function() local _ = larder.open { name = "x", l2 = NOBODY, bus = "radio" } end, '"pubsub" or false')
        misuse(function() local _ = larder.open { name = "x", l2 = NOBODY, bus = true } end, '"pubsub" or false')
    end)

    it("raise for URLs that are none, and say nothing of the password", function()
        for _, url in ipairs { "", "redis", "http://user:s3cret@h", "redis://user:s3cret@", "redis://u:s3cret@h:0",
            "redis://u:s3cret@h:65536", "redis://u:s3cret@h:abc", "redis://u:s3cret@h/x", "redis+unix://u:s3cret@x",
            "redis+unix://u:s3cret@/" .. ("x"):rep(200), "redis://u:s3cret@h\0", "redis://u:s3cret%zz@h",
            ("x"):rep(1000000) } do
            local message = misuse(function() local _ = larder.open { name = "x", l2 = url } end, "larder.open: l2")
            assert.is_nil(message:find("s3cret", 1, true), message)
            assert.is_true(#message < 500)
        end
        local given = { url = NOBODY, password = 77 }
        local message = misuse(function() local _ = larder.open { name = "x", l2 = given } end)
        assert.is_nil(message:find("77", 1, true))
        given = { url = "redis://:a@h", password = "b" }
        misuse(function() local _ = larder.open { name = "x", l2 = given } end, "password")
    end)

    it("say what is not built", function()
        for _, url in ipairs { "rediss://h", "REDISS://h", "redis+cluster://h:1,h:2", "redis+sentinel://h:1,h:2/m" } do
            misuse(function() local _ = larder.open { name = "x", l2 = url } end, "not built yet", "redis, redis+unix")
        end
        for _, bus in ipairs { "stream", "tracking" } do
            misuse(function() local _ = larder.open { name = "x", l2 = NOBODY, bus = bus } end, "not built yet")
        end
    end)

    it("want a prefix for decorators", function()
        local cache = larder.open { name = "x", l2 = NOBODY }
        misuse(function() cache:wrap(function() end) end, "prefix is required with l2")
        misuse(function() cache:wrap(function() end, { key = tostring }) end, "prefix is required with l2")
        assert.equal(3, cache:wrap(function(a) return a + 1 end, { prefix = "p" })(2))
        cache:close()
    end)

    it("touch no server at open", function()
        local cache = assert(larder.open { name = "x", l2 = { url = "redis://127.0.0.1:1", timeout = 0.2 } })
        bed.fails("unavailable", "127%.0%.0%.1:1", cache:get "k") -- there is nobody else to ask
        assert.equal("v", (cache:get("k", function() return "v" end)))
        assert.equal("l1", (select(3, cache:get "k")))
        assert.is_true(cache:close(1))
    end)

    it("keep what the pattern says, with every pattern", function()
        local server = redis.start()
        local rows, n = {}, 0
        local function open(pattern)
            n = n + 1
            return assert(shared.open { name = "p" .. n, pattern = pattern, l2 = server.url,
                source = larder.source.functions {
                    load = function(key) return rows[key] end,
                    store = function(key, value) rows[key] = value return true end,
                    delete = function(key) rows[key] = nil return true end } })
        end
        local held_then = { cache_aside = "l1", read_through = "l1", write_through = "l1", write_around = "miss" }
        for pattern, held in pairs(held_then) do
            local cache = open(pattern)
            rows = {}
            assert.is_string((cache:set("k", pattern)))
            assert.equal(held, (select(2, cache:peek "k")), pattern)
            assert.equal(pattern ~= "cache_aside" and pattern or nil, rows.k)
            assert.equal(pattern, (cache:get "k"))
            cache:close()
        end
        server:close()
    end)

    it("let poll run what is due, which on the machine's clock is nothing", function()
        local cache = larder.open { name = "x", l2 = NOBODY }
        assert.is_true(cache:poll())
        assert.is_true(cache:poll(0.5))
        misuse(function() cache:poll "soon" end, "cache:poll", '"soon"')
        cache:close()
        bed.fails("closed", nil, cache:poll())
        cache = larder.open {}
        assert.is_true(cache:poll())
        cache:close()
    end)
end)
