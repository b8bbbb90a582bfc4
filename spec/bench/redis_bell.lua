-- redis_bell.lua - how soon a change made in one process reaches the shelf of another: process A sets or invalidates
-- a key, process B looks with cache:peek again and again until the old value is gone; against a PUBLISH of A by
-- hiredis in C and B that waits for the message. From before A's call to B's seeing it, one clock for both; the
-- median of each round's hundred, ours and the peer's in turn. B gives its processor away between two looks, so that
-- it does not keep from its work who must bring the news.
--
-- under: luajit
package.path = "./?.lua;" .. package.path
local bench = require "spec.support.bench"
local redis = require "spec.support.bench_redis"

local SAMPLES, KEY, PATIENCE_NS = 100, "product:000042", 2e9
local END, HEAR, SEE = 0, 1, 2
local probe = redis.probe
local now, receive, send = probe.now, probe.receive, probe.send

-- ---- process B ------------------------------------------------------------------------------------------------------

local function hold(cache)
    local until_ns = now() + PATIENCE_NS
    while now() < until_ns do
        local value = cache:get(KEY)
        local held, outcome = cache:peek(KEY)
        if value ~= nil and held == value and outcome == "l1" then
            return value
        end
    end
    error "process B could not get the value into its shelf"
end

local function see(cache, fd)
    local old = hold(cache)
    local peek, yield, until_ns = cache.peek, probe.yield, now() + PATIENCE_NS
    send(fd, 0)
    while true do
        local value = peek(cache, KEY)
        if value ~= old then
            return send(fd, now())
        elseif now() > until_ns then
            return send(fd, 0) -- never heard of it
        end
        yield()
    end
end

local function other_process(fd)
    local peer = probe.peer(redis.path)
    local cache = redis.open {}
    peer:subscribe()
    send(fd, cache and 1 or 0)
    while true do
        local what = receive(fd)
        if what == SEE then
            see(cache, fd)
        elseif what == HEAR then
            send(fd, 0)
            peer:hear()
            send(fd, now())
        else
            return
        end
    end
end

-- ---- process A ------------------------------------------------------------------------------------------------------

local function sample(fd, what, change)
    send(fd, what)
    receive(fd)
    probe.pause(200)
    local from = now()
    change()
    local seen = receive(fd)
    assert(seen ~= 0, "the change was not seen within two seconds")
    assert(seen >= from, "the value was gone before the change")
    return seen - from
end

-- change: a function that changes the key, or nil (not built); `before` puts it back.
local function compare(c, fd, peer)
    local rounds = { {}, {} }
    local function publish()
        peer:publish(KEY)
    end
    for round = 0, bench.rounds do -- the first warms up
        local ours, theirs = {}, {}
        for i = 1, SAMPLES do
            if c.change then
                c.before()
                ours[i] = sample(fd, SEE, c.change)
            end
            theirs[i] = sample(fd, HEAR, publish)
        end
        if round > 0 then
            rounds[1][round], rounds[2][round] = bench.middle(ours), bench.middle(theirs)
        end
    end
    redis.row(c, c.change and rounds[1], rounds[2])
end

local function rows(fd)
    local peer, cache = probe.peer(redis.path), redis.open {}
    local built = receive(fd) == 1
    local i = 0
    local function set()
        i = i + 1
        assert(cache:set(KEY, "value " .. i, { ttl = 3600 }))
    end
    if built then
        set()
    end
    compare({ place = 25, work = "a set to another process's L1, p50", before = function() end, change = built and set,
        peer = "hiredis PUBLISH to subscriber", reach = 1.5 }, fd, peer)
    compare({ place = 25.1, work = "an invalidate to another process's L1, p50", before = set,
        change = built and function()
            assert(cache:invalidate(KEY))
        end, peer = "hiredis PUBLISH to subscriber", reach = 1.5 }, fd, peer)
    send(fd, END)
    if cache then
        cache:close()
    end
end

redis.with(function()
    local mine, its = probe.pair()
    local pid = probe.fork()
    if pid == 0 then
        local ok, err = pcall(other_process, its)
        if not ok then
            io.stderr:write("process B: ", tostring(err), "\n")
        end
        probe.exit()
    end
    probe.close(its)
    local ok, err = pcall(rows, mine)
    probe.close(mine)
    probe.wait(pid)
    assert(ok, err)
end)
