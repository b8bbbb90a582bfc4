-- proxy_spec.lua - the proxy of the test bed makes the faults that it says it makes, on unix sockets and on ports.

local hostile = require "spec.support.hostile"
local posix = require "spec.support.posix"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local resp = require "spec.support.resp"
local shell = require "spec.support.shell"

local GET = resp.encode("GET", "k")

describe("the proxy", function()
    local server, p, clients

    setup(function()
        server = redis.start { port = true }
    end)

    teardown(function()
        server:close()
    end)

    before_each(function()
        server:call("SET", "k", "0123456789")
        p = proxy.start { to = server }
        clients = {}
    end)

    after_each(function()
        for _, c in ipairs(clients) do
            c:close()
        end
        p:stop()
    end)

    local function dial()
        local c, why = redis.dial(p.path or p.port)
        clients[#clients + 1] = c
        return c, why
    end

    local function value(c)
        return c:ask("GET", "k")
    end

    -- All bytes that come until the end, or within ms.
    local function bytes_of(c, ms)
        local out = c.text
        while true do
            local more, why = posix.recv(c.fd, ms or 5000)
            if not more or more == "" then
                return out, why or "closed"
            end
            out = out .. more
        end
    end

    it("lets all pass, and counts", function()
        local c = dial()
        assert.equal("0123456789", value(c))
        local counts = p:count()
        assert.same({ 1, 1, #GET, 17, 0, 0 }, {
            counts.connections, counts.open, counts.up, counts.down, counts.messages, counts.fired,
        })
        assert.truthy(tonumber(p.seed))
        assert.has_error(function() p "nonsense" end)
        assert.has_error(function() p "cut" end)
        assert.has_error(function() p "garbage xx" end)
        local big = ("x"):rep(3000000)
        assert.equal("OK", c:ask("SET", "big", big).ok)
        assert.equal(big, c:ask("GET", "big"))
        c:close()
        redis.wait_until(function() return p:count().open == 0 end)
    end)

    it("serves from port to port", function()
        p:stop()
        p = proxy.start { to = server.port, port = true }
        assert.equal("redis://127.0.0.1:" .. p.port, p.url)
        local c = dial()
        assert.equal("0123456789", value(c))
        p "hang"
        local _, status = shell.run(("timeout 0.3 redis-cli -p %d GET k"):format(p.port))
        assert.equal(124, status)
        assert.equal("0123456789", value(c))
        p "pass"
        assert.equal("0123456789", value(dial()))
        p "refuse"
        assert.is_nil((value(c)))
        assert.same({ nil, "Connection refused" }, { dial() })
        p "pass"
        assert.equal("0123456789", value(dial()))
    end)

    it("refuses", function()
        local c = dial()
        p "refuse"
        assert.is_nil((value(c)))
        assert.same({ nil, "Connection refused" }, { dial() })
        p "pass"
        assert.equal("0123456789", value(dial()))
    end)

    it("hangs: a connection is not taken until it passes", function()
        local c = dial()
        assert.equal("0123456789", value(c))
        p "hang"
        assert.equal("0123456789", value(c))
        local words, status = shell.run("timeout 0.3 redis-cli -s " .. p.path .. " GET k")
        assert.equal(1, status, words) -- the kernel says EAGAIN to who does not wait
        assert.truthy(words:find "temporarily")
        assert.equal(1, p:count().connections)
        p "pass"
        assert.equal("0123456789", value(dial()))
    end)

    it("freezes, and goes on with what it held", function()
        local c = dial()
        assert.equal("0123456789", value(c))
        p "freeze"
        c:send(GET)
        local late = dial()
        late:send(GET)
        assert.same({ nil, "timeout" }, { c:read(50) })
        p "pass"
        assert.equal("0123456789", c:read())
        assert.equal("0123456789", late:read())
    end)

    it("swallows all, and the connections stay", function()
        local c = dial()
        p "blackhole"
        c:send(GET)
        assert.same({ nil, "timeout" }, { c:read(50) })
        p "pass"
        assert.equal("0123456789", value(c))
    end)

    it("delays replies", function()
        local c = dial()
        p "delay 60 20"
        local from = posix.now()
        assert.equal("0123456789", value(c))
        assert.is_true(posix.now() - from >= 60)
        p "pass"
        assert.equal("0123456789", value(c))
    end)

    it("drips", function()
        local c = dial()
        p "drip 1 3"
        local from = posix.now()
        assert.equal("0123456789", value(c))
        assert.is_true(posix.now() - from >= 16 * 3)
    end)

    it("cuts replies at each byte, once", function()
        for n = 0, 16 do
            local c = dial()
            p("cut " .. n)
            c:send(GET)
            assert.same({ ("$10\r\n0123456789\r\n"):sub(1, n), "closed" }, { bytes_of(c) })
            assert.equal("0123456789", value(dial()))
        end
        assert.equal(17, p:count().fired)
    end)

    it("cuts requests", function()
        local c = dial()
        p("cut_request " .. #GET - 1)
        c:send(GET)
        assert.equal("", (bytes_of(c)))
        assert.equal(#GET - 1, p:count().up)
    end)

    it("loses the answer to what was done", function()
        local c = dial()
        p "drop_reply"
        c:send(resp.encode("SET", "k", "new"))
        assert.same({ "", "closed" }, { bytes_of(c) })
        assert.equal("new", server:call("GET", "k"))
    end)

    it("flips a bit of a byte", function()
        local c = dial()
        p "flip 7 0x01"
        assert.equal("0133456789", value(c))
        assert.equal("0123456789", value(c))
        assert.equal(1, p:count().fired)
    end)

    it("adds and replaces bytes", function()
        local c = dial()
        p "garbage 2b410d0a"
        assert.equal("A", value(c).ok)
        assert.equal("0123456789", c:read())
        p "replace 2b410d0a 2"
        c:send(resp.encode "PING" .. GET .. resp.encode "PING")
        assert.same({ "PONG", "A", "PONG" }, { c:read().ok, c:read().ok, c:read().ok })
    end)

    it("makes a fault for connections of one kind, or from a word on", function()
        local data, bell = dial(), dial()
        assert.equal("subscribe", bell:ask("SUBSCRIBE", "b")[1])
        p "on bell cut 0"
        assert.equal("0123456789", value(data))
        bell:send(resp.encode "PING")
        assert.same({ "", "closed" }, { bytes_of(bell) })
        p "on data when STRLEN drop_reply"
        assert.equal("0123456789", value(data))
        data:send(resp.encode("STRLEN", "k"))
        assert.same({ "", "closed" }, { bytes_of(data) })
    end)

    it("ends all connections, once", function()
        local c = dial()
        assert.equal("0123456789", value(c))
        p "reset"
        assert.is_nil((value(c)))
        assert.equal("0123456789", value(dial()))
    end)

    it("outlives its server", function()
        local c = dial()
        assert.equal("0123456789", value(c))
        server:kill()
        assert.same({ "", "closed" }, { bytes_of(c) })
        local refused = dial()
        assert.is_nil((value(refused)))
        server:restart()
        assert.is_false(value(dial()))
    end)

    describe("at the bell", function()
        local c

        before_each(function()
            c = dial()
            assert.equal("subscribe", c:ask("SUBSCRIBE", "b")[1])
        end)

        local function ring(from, to)
            for i = from, to do
                assert.equal(1, server:call("PUBLISH", "b", "m" .. i))
            end
        end

        -- The messages in the order in which they came; the last one is a PING's answer, behind all others.
        local function heard(n)
            local list = {}
            for i = 1, n do
                list[i] = assert(c:read())[3]
            end
            assert.same({ n = 2, "pong", "" }, c:ask "PING")
            return table.concat(list, " ")
        end

        it("lets all messages pass", function()
            ring(1, 5)
            assert.equal("m1 m2 m3 m4 m5", heard(5))
            assert.equal(5, p:count().messages)
        end)

        it("loses one or all", function()
            p "bell drop 2"
            ring(1, 3)
            assert.equal("m1 m3", heard(2))
            p "bell drop all"
            ring(1, 3)
            p:wait("messages", 6)
            p "bell pass"
            ring(4, 4)
            assert.equal("m4", heard(1))
        end)

        it("doubles one", function()
            p "bell double 2"
            ring(1, 3)
            assert.equal("m1 m2 m2 m3", heard(4))
        end)

        it("delays one, which others overtake", function()
            p "bell delay 1 40"
            ring(1, 3)
            assert.equal("m2 m3 m1", heard(3))
        end)

        it("swaps one with the next", function()
            p "bell swap 2"
            ring(1, 4)
            assert.equal("m1 m3 m2 m4", heard(4))
        end)

        it("is late with all, in order", function()
            p "bell stall 40"
            local from = posix.now()
            ring(1, 2)
            assert.equal("m1 m2", heard(2))
            assert.is_true(posix.now() - from >= 40)
        end)

        it("hears a message in pieces, of any bytes", function()
            p "on bell drip 3 1"
            p "bell double 1"
            local text = "\r\n*3\r\n$7\r\nmessage\r\n" .. ("x"):rep(50)
            server:call("PUBLISH", "b", text)
            assert.equal(text .. " " .. text, heard(2))
        end)
    end)

    it("plays a hostile server's answers in each phase", function()
        local all = hostile.replies()
        assert.is_true(#all > 100)
        hostile.play(p, "connect", "+A\r\n")
        local c = dial()
        assert.equal("A", c:read().ok)
        hostile.play(p, "handshake", "+B\r\n")
        assert.equal("B", c:ask("CLIENT", "SETNAME", "larder").ok)
        hostile.play(p, "script", "+C\r\n")
        assert.equal("C", c:ask("EVALSHA", "x", "0").ok)
        hostile.play(p, "look_up", "+D\r\n")
        c:send(resp.encode "TIME" .. GET)
        assert.same({ "D", "0123456789" }, { c:read().ok, c:read() })
        hostile.play(p, "answer", ("x"):rep(100000) .. "\r\n", 2)
        c:send(resp.encode "TIME" .. GET)
        assert.equal(2, c:read().n)
        assert.equal(100002, #(bytes_of(c, 100)))
        hostile.play(p, "answer", "")
        c = dial()
        c:send(GET)
        assert.same({ nil, "timeout" }, { c:read(50) })
        hostile.play(p, "subscription", "+E\r\n")
        c = dial()
        assert.equal("E", c:ask("SUBSCRIBE", "b").ok)
        hostile.play(p, "push", "+F\r\n")
        server:call("PUBLISH", "b", "x")
        assert.equal("F", c:read().ok)
        server:call("PUBLISH", "b", "x")
        assert.equal("message", c:read()[1])
    end)
end)

describe("the bed's Redis", function()
    it("stops, freezes and comes back, empty or with an old copy", function()
        local server = redis.start { config = { maxmemory = "4mb" } }
        finally(function()
            server:close()
        end)
        assert.equal("4194304", server:call("CONFIG", "GET", "maxmemory")[2])
        server:call("SET", "k", "old")
        server:save "copy"
        server:call("SET", "k", "new")
        local c = redis.dial(server.path)
        server:pause()
        c:send(GET)
        assert.same({ nil, "timeout" }, { c:read(30) })
        server:resume()
        assert.equal("new", c:read())
        server:kill()
        assert.same({ nil, "closed" }, { c:read() })
        c:close()
        server:restart { copy = "copy" }
        assert.equal("old", server:call("GET", "k"))
        server:restart()
        assert.is_nil(server:call("GET", "k"))
        server:stop()
        assert.is_nil((redis.dial(server.path)))
        assert.truthy(server.url:find "^redis%+unix:///")
    end)

    it("says why it does not start", function()
        local fine, why = pcall(redis.start, { config = { nonsense = 1 } })
        assert.is_false(fine)
        assert.truthy(why:find("nonsense", 1, true), why)
    end)
end)
