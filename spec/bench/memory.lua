-- memory.lua - what an entry costs above its key and value: 1,000,000 entries of 16 + 64 bytes, index and slack
-- included, as growth of resident memory. Each subject is filled in a process of its own; no key is kept in Lua but by
-- a subject that does so itself. With PEERS=folder also folder/pogocache, which no package carries.
--
-- Larder has room for all of them (and they are counted afterwards), as the peers have. A last row, for information, is
-- of a cache that is full to its limit of entries and has evicted: then it also remembers what left (s3fifo).
--
-- under: luajit
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"

local N, PAYLOAD = 1000000, 16 + 64
local probe = bench.probe()
local filler = ("v"):rep(48)

local function each(put, n)
    for i = 1, n or N do
        local key = ("key:%012d"):format(i)
        put(key, key .. filler)
        if i % 20000 == 0 then
            collectgarbage()
        end
    end
end

-- Each gives a function that fills and one that tells how many entries are held; what they hold lives until the end.
local subjects = {}

local function larder(l1, n)
    local cache = require("larder").open { l1 = l1 }
    return function()
        each(function(key, value)
            cache:set(key, value)
        end, n)
    end, function()
        local held = cache:stats().entries
        assert(n or held == N, "not all entries are held")
        return held
    end
end

function subjects.larder()
    return larder { bytes = 150e6 }
end

subjects["a full larder"] = function()
    return larder({ bytes = 256 * 2 ^ 20, entries = N }, 3 * N)
end

subjects["a Lua table"] = function()
    local t = {}
    return function()
        each(function(key, value)
            t[key] = value
        end)
    end, function()
        local n = 0
        for _ in next, t do
            n = n + 1
        end
        return n
    end
end

function subjects.lrucache()
    local cache = bench.lrucache(N)
    return function()
        each(function(key, value)
            cache:set(key, value, 3600)
        end)
    end, function()
        return cache:count()
    end
end

if arg and subjects[arg[1]] then
    local fill, count = subjects[arg[1]]()
    collectgarbage()
    local before = probe.resident()
    fill()
    collectgarbage()
    collectgarbage()
    print(("%.2f"):format((probe.resident() - before) / count() - PAYLOAD))
    os.exit(0, false)
end

local function shell(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return text
end

local function in_lua(lua, name)
    return tonumber((shell(("%s spec/bench/memory.lua '%s'"):format(lua, name))))
end

-- A server of our own on a socket in a folder of its own; command has one %s for the socket.
local function in_server(command)
    local folder = shell("mktemp -d"):gsub("%s", "")
    local socket = folder .. "/socket"
    local pid = tonumber((shell(command:format(socket) .. " >/dev/null 2>&1 & echo $!")))
    probe.fill(socket, 1)
    local before = probe.resident(pid)
    local n = probe.fill(socket, N)
    local bytes = (probe.resident(pid) - before) / n - PAYLOAD
    os.execute(("kill %d; rm -rf '%s'"):format(pid, folder))
    return bytes, n
end

local function row(place, work, bytes, peer, peer_bytes)
    local ratio = peer_bytes and bytes / peer_bytes
    bench.row { place = place, work = work, ours = ("%.1f bytes"):format(bytes), peer = peer_bytes and
        ("%s, %.1f bytes"):format(peer, peer_bytes) or peer, min = ratio, median = ratio, limit = bytes, reach = 64 }
end

local ours = in_lua("luajit", "larder")
local what = "memory above key and value, 1 million"
row(6.1, what, ours, "memcached", (in_server("memcached -u $(id -un) -m 512 -s %s")))
row(6.2, what, ours, "a Lua table (LuaJIT)", in_lua("luajit", "a Lua table"))
row(6.3, what, ours, "lrucache", in_lua("luajit", "lrucache"))
local peers = os.getenv("PEERS")
if peers and shell(("test -x '%s/pogocache' && echo yes"):format(peers)) ~= "" then
    row(6.4, what, ours, "pogocache", (in_server(("'%s/pogocache' -p 0 -s %%s"):format(peers))))
else
    row(6.4, what, ours, "pogocache: not installed")
end
bench.row { place = 9.7, work = "memory, full and evicting, 1 million",
    ours = ("%.1f bytes"):format(in_lua("luajit", "a full larder")), peer = "-" }
row(6.5, "the same through Lua 5.4", in_lua("lua5.4", "larder"), "a Lua table (5.4)", in_lua("lua5.4", "a Lua table"))
