-- bench_redis.lua - the benches of the shared shelf: a redis-server of their own, the peers in C (bench_redis.c), and
-- a comparison on the wall, in which both sides run in short blocks in turn.
--
-- Time on the wall is what a caller of a server waits for, and the server is another process: what else the machine
-- does meets both sides alike only where the blocks are short. A round is some tens of blocks of each side, a few ms
-- each. Where l2 does not open yet the row reads "not built", beside what the peer takes.
local bench = require "spec.support.bench"
local larder = require "larder"

local redis = { engine = bench.engine }

local function build()
    local name = bench.is_jit and "luajit" or "lua5.4"
    local folder = "build/probe/" .. name
    local target = folder .. "/bench_redis.so"
    local compile = "mkdir -p %s && ${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -fPIC -shared -Ilua "
        .. "$(pkg-config --cflags %s sqlite3 hiredis) -o %s.$$ spec/support/bench_redis.c -lsqlite3 -lhiredis "
        .. "&& mv %s.$$ %s"
    compile = compile:format(folder, name, target, target, target)
    local status = os.execute(("test %s -nt spec/support/bench_redis.c || { %s; }"):format(target, compile))
    assert(status == true or status == 0, "cannot build " .. target)
    return assert(package.loadlib(target, "luaopen_bench_redis"))()
end

redis.probe = build()
local now, cpu = redis.probe.now, redis.probe.cpu

-- ---- the server -----------------------------------------------------------------------------------------------------

local function folder_of(command)
    local pipe = assert(io.popen(command))
    local folder = assert(pipe:read "*l", "no temporary folder")
    pipe:close()
    return folder
end

-- redis.with(fn): fn runs beside a server of its own (redis.path, redis.pid, redis.folder); both are gone afterwards.
function redis.with(fn)
    redis.folder = folder_of "mktemp -d -t larder-bench-XXXXXX"
    redis.path = redis.folder .. "/redis.sock"
    local ok, err = xpcall(function()
        redis.pid = redis.probe.server(redis.folder)
        fn()
    end, debug.traceback)
    if redis.pid then
        redis.probe.stop(redis.pid)
    end
    os.execute("rm -rf " .. redis.folder)
    if not ok then
        error(err, 0)
    end
end

-- The cache of these options on that server, or nil where this release knows no l2 yet.
function redis.open(options)
    options.name = options.name or "bench"
    options.l2 = "redis+unix://" .. redis.path
    local ok, cache, err = pcall(larder.open, options)
    if not ok and tostring(cache):find("not built", 1, true) then
        return nil
    end
    assert(ok, cache)
    return assert(cache, err)
end

-- n keys, and the same as they stand in Redis but for the peer.
function redis.keys(n)
    local ours, theirs = {}, {}
    for i = 1, n do
        ours[i] = ("product:%06d"):format(i * 7919 % 1000003)
        theirs[i] = "peer:bench:" .. ours[i]
    end
    return ours, theirs
end

redis.value = ("a value of 64 bytes "):rep(4):sub(1, 64)

-- Puts the value to all keys through the cache and sees that each is then answered by Redis.
function redis.fill(cache, keys)
    for _, key in ipairs(keys) do
        assert(cache:set(key, redis.value, { ttl = 3600 }))
    end
    for _, key in ipairs(keys) do
        local value, err, outcome = cache:get(key)
        assert(value == redis.value, err)
        assert(outcome == "l2", "a hit in Redis was expected, it was " .. tostring(outcome))
    end
end

-- ---- comparing ------------------------------------------------------------------------------------------------------

local function figure(ns)
    if ns >= 1e6 then
        return ("%.2f ms"):format(ns / 1e6)
    end
    return ns >= 1e4 and ("%.1f us"):format(ns / 1e3) or ("%.0f ns"):format(ns)
end
redis.figure = figure

-- A side's sums over a round: ns on the wall, of this process's and of the server's CPU, and operations.
local function sums()
    return { wall = 0, own = 0, server = 0, n = 0 }
end

local function block(side, n, sum)
    local own, server, wall = cpu(), cpu(redis.pid), now()
    local took = side(n)
    sum.wall = sum.wall + (took or now() - wall)
    sum.own = sum.own + cpu() - own
    sum.server = sum.server + cpu(redis.pid) - server
    sum.n = sum.n + n
end

local function middle_of(rounds, field)
    local list = {}
    for i, sum in ipairs(rounds) do
        list[i] = sum[field] / sum.n
    end
    return bench.middle(list)
end

local function tell(who, rounds)
    print(("  %-32s %9s on the wall, %9s of own CPU, %9s of the server's"):format(who,
        figure(middle_of(rounds, "wall")), figure(middle_of(rounds, "own")), figure(middle_of(rounds, "server"))))
end

-- The row of two lists of figures, one each round; `ours` nil: not built.
function redis.row(c, ours, theirs)
    local ratio = {}
    for i, v in ipairs(ours or {}) do
        ratio[i] = v / theirs[i]
    end
    local row = { place = c.place, work = c.work, ours = ours and figure(bench.middle(ours)) or "not built",
        peer = c.peer .. ", " .. figure(bench.middle(theirs)) }
    if ours then
        row.min, row.median, row.reach = bench.least(ratio), bench.middle(ratio), c.reach
    end
    bench.row(row)
end

-- compare{ place, work, ours, peer, theirs, reach, n, blocks }: ours(n) and theirs(n) do n operations (ours nil: not
-- built) and may give how many ns of it count. A round is `blocks` blocks of n a side, in turn.
-- `pinned`: this process and the server share one processor, so that nobody wakes one that sleeps.
function redis.compare(c)
    local a, b, per_round = {}, {}, { {}, {} }
    assert(redis.probe.pin(c.pinned, redis.pid), "cannot choose processors")
    for _ = 1, 3 do
        if c.ours then
            c.ours(c.n)
        end
        c.theirs(c.n)
    end
    for round = 1, c.rounds or bench.rounds do
        collectgarbage()
        a[round], b[round] = sums(), sums()
        for _ = 1, c.blocks or 20 do
            if c.ours then
                block(c.ours, c.n, a[round])
            end
            block(c.theirs, c.n, b[round])
        end
        per_round[1][round], per_round[2][round] = a[round].wall / a[round].n, b[round].wall / b[round].n
    end
    print(c.work)
    if c.ours then
        tell("ours", a)
    end
    tell(c.peer, b)
    redis.row(c, c.ours and per_round[1], per_round[2])
end

return redis
