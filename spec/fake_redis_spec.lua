-- fake_redis_spec.lua - the Redis of the test bed answers as a real one does, byte for byte where Larder looks.

local bed = require "spec.support.bed"
local fake_redis = require "spec.support.fake_redis"
local redis = require "spec.support.redis"
local resp = require "spec.support.resp"
local sha1 = require "spec.support.sha1"

-- What may differ: where in a script an error was, and the words of the host's Lua.
local function shown(reply)
    local text = resp.show(reply)
    text = text:gsub(", on @user_script:%d+", ""):gsub("(user_script:)%d*: ?.*( script: %x+)", "%1%2")
    return (text:gsub("^(%-ERR Error compiling script).*", "%1"))
end

local unpack = table.unpack or unpack

local function us()
    return os.time() * 1e6
end

local server, fake

local function same(...)
    local real, mine = shown(server:ask(...)), shown(fake:ask(...))
    if real ~= mine then
        error(("%s\nreal: %s\nfake: %s"):format(resp.show { n = select("#", ...), ... }, real, mine), 2)
    end
    return real
end

-- Lines of words; a word in quotes may hold spaces, '' is empty.
local function all_same(text)
    for line in text:gmatch "[^\n]+" do
        local words, at = {}, 1
        while at <= #line do
            local _, to, word = line:find("^%s*'([^']*)'", at)
            if not to then
                _, to, word = line:find("^%s*(%S+)", at)
            end
            if not to then
                break
            end
            words[#words + 1], at = word, to + 1
        end
        if #words > 0 then
            same(unpack(words))
        end
    end
end

describe("the fake Redis", function()
    setup(function()
        server = redis.start()
    end)

    teardown(function()
        server:close()
    end)

    before_each(function()
        server:ask "FLUSHALL"
        server:ask("SCRIPT", "FLUSH")
        fake = fake_redis.new { now = us }
    end)

    it("hashes as everybody does", function()
        assert.equal("da39a3ee5e6b4b0d3255bfef95601890afd80709", sha1 "")
        assert.equal("a9993e364706816aba3e25717850c26c9cd0d89d", sha1 "abc")
        for n = 50, 130 do
            local text = ("x"):rep(n)
            assert.equal(server:call("EVAL", "return redis.sha1hex(ARGV[1])", "0", text), sha1(text))
        end
    end)

    it("answers strings as Redis does", function()
        all_same [[
            GET k
            SET k v
            GET k
            get k
            STRLEN k
            STRLEN none
            SET k '' XX
            GET k
            SET k v NX
            SET new v NX
            SET none v XX
            SET k w GET
            SET k w NX GET
            SET k v PX 0
            SET k v PX -5
            SET k v PX x
            SET k v EX
            SET k v NX XX
            SET k v KEEPTTL PX 5
            SET k v PX 5 KEEPTTL
            SET k v PX 5 EX 5
            SET k v WHAT
            SET k v PX 9223372036854775808
            SET k
            SET k v PX 100000
            SET k w KEEPTTL
            TTL k
            SET k w
            TTL k
            PTTL k
            PTTL none
            TTL none
            MGET k none new
            MGET
            SETRANGE k 3 ab
            GET k
            SETRANGE k 0 ''
            SETRANGE none 5 ''
            EXISTS none
            SETRANGE k -1 x
            SETRANGE k x x
            SETRANGE k 536870912 x
            SETRANGE none 2 x
            GET none
            SETRANGE none 0 abcdefgh
            GETRANGE none 0 -1
            GETRANGE none 2 3
            GETRANGE none -3 -1
            GETRANGE none -1 -3
            GETRANGE none 5 2
            GETRANGE none 100 200
            GETRANGE none -100 2
            GETRANGE none -100 -90
            GETRANGE nobody 0 1
            GETRANGE none 0 x
            EXISTS k k none nobody
            TYPE k
            TYPE nobody
            DEL k none nobody
            DEL k
            DBSIZE
        ]]
    end)

    it("answers expiries as Redis does", function()
        all_same [[
            SET k v
            EXPIRE k 100
            TTL k
            EXPIRE k x
            EXPIRE k
            PEXPIRE none 1
            PERSIST k
            PERSIST k
            PERSIST none
            TTL k
            PEXPIRE k 100000
            TTL k
            SETRANGE k 0 abc
            TTL k
            PEXPIRE k 0
            EXISTS k
            SET k v
            PEXPIRE k -5
            GET k
        ]]
    end)

    it("answers hashes, and commands on keys of another type, as Redis does", function()
        all_same [[
            HSET h a 1
            HSET h a 2 b 3 c 4
            HSET h a
            HSET h a 1 b
            HGET h a
            HGET h none
            HGET none a
            HMGET h a none c
            HMGET none a
            HSETNX h a 5
            HSETNX h d 5
            HINCRBY h a 5
            HINCRBY h new -3
            HINCRBY h a x
            HINCRBY h a 1.5
            HSET h text abc
            HINCRBY h text 1
            HINCRBY h a 9223372036854775807
            HDEL h a none
            HDEL h b c d new text
            EXISTS h
            HSET h a 1
            GET h
            MGET h
            STRLEN h
            SETRANGE h 0 x
            SETRANGE h 0 ''
            GETRANGE h 0 1
            SET s v
            HGET s a
            HMGET s a b
            HSET s a 1
            HSETNX s a 1
            HINCRBY s a 1
            HDEL s a
            SET h v GET
            SET h v NX
            SET h v
            GET h
            TYPE h
        ]]
    end)

    it("answers all else as Redis does", function()
        all_same [[
            PING
            PING x
            PING x y
            NOPE
            nope a b
            GET
            GET a b
            SELECT 99
            SELECT x
            SELECT 3
            SET k three
            SELECT 0
            GET k
            AUTH x
            AUTH nobody x
            AUTH a b c
            CLIENT
            CLIENT SETNAME
            CLIENT SETNAME larder
            CLIENT GETNAME
            CLIENT NOPE
            SCRIPT
            SCRIPT NOPE
            SCRIPT LOAD
            PUBLISH channel x
            PUBLISH channel
            FLUSHALL
            DBSIZE
        ]]
        assert.equal("table", type(fake:ask "TIME"))
        assert.truthy(fake:ask "INFO":find "run_id:%x+")
    end)

    local function scripts()
        local list = {}
        for line in io.lines "spec/support/redis_scripts.txt" do
            if line:sub(1, 1) ~= "#" then
                list[#list + 1] = line:gsub("\\(.)", { n = "\n", ["\\"] = "\\" })
            end
        end
        return list
    end

    it("runs scripts as Redis' Lua 5.1 does", function()
        local red = {}
        for _, text in ipairs(scripts()) do
            local fine, err = pcall(same, "EVAL", text, "2", "k1", "k2", "41", "x")
            red[#red + 1] = not fine and err or nil
        end
        assert.equal("", table.concat(red, "\n"))
    end)

    it("knows scripts by their hashes", function()
        all_same [[
            EVALSHA abc 0
            SCRIPT LOAD 'return ARGV[1]'
            EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 0 x
            EVALSHA 098E0F0D1448C0A81DAFE820F66D460EB09263DA 0 x
            SCRIPT EXISTS 098e0f0d1448c0a81dafe820f66d460eb09263da abc
            SCRIPT LOAD 'return ('
            SCRIPT FLUSH
            EVALSHA 098e0f0d1448c0a81dafe820f66d460eb09263da 0 x
            EVAL 'return 1' 0
            EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
            EVAL 'return 1' 2 a
            EVAL 'return 1' -1
            EVAL 'return 1' x
            EVAL 'return 1'
        ]]
    end)

    local writes = {
        { "SET", "k", "v" }, { "GET", "h" }, { "GET", "k" }, { "SETRANGE", "k", "0", "x" }, { "HSET", "b", "s", "1" },
        { "HINCRBY", "b", "s", "1" }, { "PING" }, { "PUBLISH", "c", "x" }, { "EXPIRE", "k", "100" }, { "DBSIZE" },
        { "EVAL", "return 1", "0" }, { "EVAL", "return redis.call('set', 'k', 1)", "0" },
        { "EVAL", "return redis.pcall('set', 'k', 1)", "0" }, { "EVAL", "return redis.pcall('set', 'k', 1).err", "0" },
        { "EVAL", "redis.call('del', 'none') return redis.call('set', 'k', 1)", "0" },
        { "EVAL", "redis.call('get', 'none') return redis.call('hset', 'k2', 'a', 1)", "0" }, { "GET", "k" },
        { "DEL", "k" },
    }

    local function same_in(mode)
        fake.mode = mode
        for _, words in ipairs(writes) do
            same(unpack(words))
        end
    end

    it("is full as Redis is", function()
        finally(function()
            server:config("maxmemory", "0")
        end)
        server:config("maxmemory", "1")
        same_in "OOM"
    end)

    it("is read-only as a replica is", function()
        finally(function()
            server:call("REPLICAOF", "NO", "ONE")
        end)
        same("SET", "k", "v")
        server:call("REPLICAOF", "127.0.0.1", "1")
        same_in "READONLY"
    end)

    -- fn beside another server.
    local function with(config, fn)
        local usual = server
        server = redis.start { config = config }
        local fine, err = pcall(fn)
        server:close()
        server = usual
        assert(fine, err)
    end

    it("refuses writes as Redis does that cannot save", function()
        with({ dbfilename = "none.rdb" }, function()
            same("SET", "k", "v")
            assert.truthy(os.execute("mkdir " .. server.folder .. "/none.rdb"))
            server:config("save", "3600 1000000")
            server:ask "BGSAVE"
            redis.wait_until(function()
                return server:info "rdb_last_bgsave_status" == "err"
            end)
            same_in "MISCONF"
        end)
    end)

    it("asks for the password as Redis does", function()
        with({ requirepass = "secret" }, function()
            fake = fake_redis.new { now = us, password = "secret" }
            all_same [[
                GET k
                PING
                AUTH wrong
                AUTH default wrong
                AUTH nobody secret
                GET k
                AUTH secret
                GET k
                AUTH default secret
                GET k
            ]]
        end)
    end)

    it("answers drawn commands as Redis does", function()
        local state = bed.seed % 2147483646 + 1
        local function draw(list)
            state = state * 48271 % 2147483647
            return list[state % #list + 1]
        end
        local names = {
            "GET", "MGET", "SET", "SETRANGE", "GETRANGE", "STRLEN", "DEL", "EXISTS", "TTL", "PERSIST", "HGET", "HMGET",
            "HSET", "HSETNX", "HINCRBY", "HDEL", "PUBLISH", "TYPE", "DBSIZE",
        }
        local words = { "a", "b", "c", "0", "1", "-1", "7", "x", "", "NX", "XX", "KEEPTTL", "GET", "100" }
        local keys = { "a", "b", "c" }
        for i = 1, bed.count(20000, 2000) do
            local argv = { draw(names), draw(keys) }
            for j = 1, draw { 0, 1, 1, 2, 2, 3, 4 } do
                argv[j + 2] = draw(words)
            end
            local fine, err = pcall(same, unpack(argv))
            assert(fine, ("LARDER_SEED=%d, command %d: %s"):format(bed.seed, i, err))
        end
    end)

    -- The clock stands still in both: they can be compared to the last digit.
    it("runs Larder's own scripts as Redis does", function()
        -- As the build does it: each script with what it needs of the common part, or all of it.
        local function composed(verb)
            local how = "test -f compose.awk && awk -f compose.awk head.lua cell.lua %s.lua || cat cell.lua %s.lua"
            local pipe = assert(io.popen("cd core/l2/redis && { " .. how:format(verb, verb) .. "; }"))
            local text = pipe:read "*a"
            return text, pipe:close()
        end
        local state = (bed.seed + 1) % 2147483646 + 1
        local function draw(n)
            state = state * 48271 % 2147483647
            return state % n + 1
        end
        local tokens = { ("0"):rep(15) .. "a", ("0"):rep(15) .. "b" }
        local versions = { ("0"):rep(19), ("0"):rep(18) .. "7", "0009007199254740992", "0009007199254740993" }
        local gens = { ("0"):rep(15) .. "1", "?" .. ("0"):rep(15) .. "1" }
        local times = { "0", "5000000", "1000000000", "9999999999999999" }
        local values = { "", "value", "other value" }
        local letters = {
            lease = "gtuffb", fill = "gtvbaelsr", release = "t", renew = "tu", mark = "tu", set = "gtvbaelsr",
            unmark = "t", put = "gcvbaelsrf", drop = "gcvbt", touch = "gu", drop_all = "t",
        }
        local verbs, texts = {}, {}
        for name in pairs(letters) do
            verbs[#verbs + 1] = name
            texts[name] = composed(name)
        end
        table.sort(verbs)
        local sources = {
            g = gens, t = tokens, v = versions, u = { "1000000", "60000000" }, f = { "0", "1" }, b = { "60000000" },
            a = times, e = { "", "1700000000000000", "1700000005000000" }, l = times, s = times, r = values,
            c = { "*", "-", versions[2], versions[3] },
        }
        local function at(seconds)
            return ("local clock = {'%d','123456'}"):format(seconds)
        end
        for i = 1, bed.count(20000, 1500) do
            local verb = verbs[draw(#verbs)]
            local text, n = texts[verb]
                :gsub("local clock = redis%.call%('TIME'%)", at(1700000000 + math.floor(i / 200) * 4))
            assert(n == 1, "the scripts read the clock in another way")
            local argv = { "EVAL", text, "2", "ldr1:n:k" .. draw(3), "ldr1.bell:n", ("0"):rep(15) .. "f" }
            for letter in letters[verb]:gmatch "." do
                argv[#argv + 1] = sources[letter][draw(#sources[letter])]
            end
            local fine, err = pcall(same, unpack(argv))
            assert(fine, not fine and ("LARDER_SEED=%d, %d: %s %s"):format(bed.seed, i, verb, tostring(err):sub(-1500)))
            local left, mine = server:ask("PTTL", argv[4]), fake:ask("PTTL", argv[4])
            assert(left < 3000 or math.abs(left - mine) < 3000, "PTTL")
            if left >= 0 and left < 3000 or mine >= 0 and mine < 3000 then
                server:ask("DEL", argv[4]) -- whether it is there yet is a matter of moments
                fake:ask("DEL", argv[4])
            end
            same("GET", argv[4])
            same("HMGET", argv[5], "g", "s")
            if draw(20) == 1 then
                same("DEL", argv[4])
            end
        end
    end)
end)

describe("the fake Redis, by itself,", function()
    local now

    before_each(function()
        now = 1e15
        fake = fake_redis.new { now = function() return now end }
    end)

    it("takes requests in any pieces", function()
        local bytes = resp.encode("SET", "k", "v\r\n") .. resp.encode("GET", "k") .. resp.encode "PING"
        local out = ""
        for i = 1, #bytes do
            out = out .. fake:feed(bytes:sub(i, i))
        end
        assert.equal("+OK\r\n$3\r\nv\r\n\r\n+PONG\r\n", out)
        assert.equal(out, fake:connect():feed(bytes))
        assert.equal(6, #fake.asked)
    end)

    it("expires by the clock that it was given", function()
        fake:ask("SET", "k", "v", "PX", "1000")
        assert.equal(1000, fake:ask("PTTL", "k"))
        now = now + 1000000
        assert.equal("v", fake:ask("GET", "k"))
        now = now + 1000
        assert.is_false(fake:ask("GET", "k"))
        fake.offset_us = -5e6
        assert.equal("999999996", fake:ask "TIME"[1])
    end)

    it("evicts, restarts and goes back to a copy", function()
        fake:ask("SET", "k", "v")
        local copy = fake:save()
        local c = fake:connect()
        assert.equal("v", c:ask("GET", "k"))
        fake:evict "k"
        assert.is_false(c:ask("GET", "k"))
        fake:restart { copy = copy }
        assert.same({ n = 2 }, { n = select("#", c:feed "x"), })
        assert.equal("v", fake:ask("GET", "k"))
        fake:restart()
        assert.equal("v", fake:ask("GET", "k"))
        fake:restart { empty = true }
        assert.is_false(fake:ask("GET", "k"))
    end)

    it("keeps what was published for who decides when it is heard", function()
        local c = fake:connect()
        c:ask("SUBSCRIBE", "bell")
        assert.equal(1, fake:ask("PUBLISH", "bell", "1 d 0 x k"))
        assert.equal(0, fake:ask("PUBLISH", "else", "x"))
        assert.equal("1 d 0 x k", fake.published[1].payload)
        assert.equal("*3\r\n$7\r\nmessage\r\n$4\r\nbell\r\n$9\r\n1 d 0 x k\r\n", fake.published[1].push)
        assert.same({ n = 2, "pong", "" }, c:ask "PING")
    end)

    it("loads its data", function()
        fake.mode = "LOADING"
        assert.truthy(fake:ask("GET", "k").err:find "^LOADING")
        assert.truthy(fake:ask("EVAL", "return 1", "0").err:find "^LOADING")
        assert.equal("+OK", resp.show(fake:ask("SELECT", "0")))
        fake.mode = nil
        assert.is_false(fake:ask("GET", "k"))
    end)
end)
