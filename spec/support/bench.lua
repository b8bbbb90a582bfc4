-- bench.lua - two sides measured in turn within one process: minimum and median over rounds, and one row of the table.
--
-- A row that begins with "@row" is picked up by bench.sh for the table of all benches; the rest is for who reads along.
-- CPU time is measured, not time on the wall: what else the machine does meets both sides and counts for neither.
local bench = {}

bench.rounds = tonumber(os.getenv("ROUNDS")) or 9

local jit = rawget(_G, "jit")
bench.is_jit = jit ~= nil
bench.with_jit = jit ~= nil and (jit.status()) or false
bench.engine = jit and (bench.with_jit and "LuaJIT" or "LuaJIT -joff") or _VERSION

local function sorted(list)
    local copy = {}
    for i, v in ipairs(list) do
        copy[i] = v
    end
    table.sort(copy)
    return copy
end

function bench.middle(list)
    return sorted(list)[math.floor((#list + 1) / 2)]
end

function bench.least(list)
    return sorted(list)[1]
end

-- ns an operation of work(), which gives how many operations it did.
function bench.time(work)
    collectgarbage()
    local from = os.clock()
    local n = work()
    return (os.clock() - from) / n * 1e9
end

local function figure(v, unit)
    return ("%.0f %s"):format(v, unit)
end

-- row{ place, work, ours, peer, min, median, reach, limit }: place orders the table, reach may be nil: for information.
-- limit: the figure that must reach it where that is not the median ratio.
function bench.row(r)
    local reached = not r.reach and "-" or (r.limit or r.median) <= r.reach and "yes" or "NO"
    print(table.concat({ "@row", ("%05.2f"):format(r.place), r.work, r.ours, r.peer,
        r.min and ("%.2f"):format(r.min) or "-", r.median and ("%.2f"):format(r.median) or "-",
        r.reach and ("<= %g%s"):format(r.reach, r.limit and " bytes" or "") or "-", reached }, "\t"))
    io.stdout:flush()
end

-- compare{ place, work, ours = function, peer = "name", theirs = function, reach }: each side once unmeasured. `before`
-- runs untimed ahead of each measured round of ours.
function bench.compare(c)
    local a, b, ratio = {}, {}, {}
    local before = c.before or function() end
    before()
    c.ours()
    c.theirs()
    for i = 1, c.rounds or bench.rounds do
        before()
        a[i] = bench.time(c.ours)
        b[i] = bench.time(c.theirs)
        ratio[i] = a[i] / b[i]
    end
    bench.row { place = c.place, work = c.work, ours = figure(bench.middle(a), "ns"),
        peer = c.peer .. ", " .. figure(bench.middle(b), "ns"), min = bench.least(ratio), median = bench.middle(ratio),
        reach = c.reach }
    return a, b
end

-- A copy of a function of its own, so that one side does not run in a trace made for the other.
function bench.own(fn)
    local copy = assert((loadstring or load)(string.dump(fn))) -- luacheck: ignore 113
    for i = 1, 60 do
        local name, value = debug.getupvalue(fn, i)
        if not name then
            break
        end
        debug.setupvalue(copy, i, value)
    end
    return copy
end

-- Numbers from a fixed seed, so that every run does the same.
function bench.drawer(seed)
    local x = seed
    return function(n)
        x = (x * 48271) % 2147483647
        return math.floor(x / 8) % n + 1
    end
end

function bench.shuffle(list, seed)
    local draw = bench.drawer(seed or 7)
    for i = #list, 2, -1 do
        local j = draw(i)
        list[i], list[j] = list[j], list[i]
    end
    return list
end

-- What is compared with and written in C: bench_probe.c, built for the Lua that runs this.
function bench.probe()
    local name = jit and "luajit" or "lua5.4"
    local folder = "build/probe/" .. name
    local target = folder .. "/bench_probe.so"
    local compile = "mkdir -p %s && ${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -fPIC -shared -Ilua "
        .. "$(pkg-config --cflags %s sqlite3) -o %s.$$ spec/support/bench_probe.c -lsqlite3 && mv %s.$$ %s"
    compile = compile:format(folder, name, target, target, target)
    local status = os.execute(("test %s -nt spec/support/bench_probe.c || { %s; }"):format(target, compile))
    assert(status == true or status == 0, "cannot build " .. target)
    local open = assert(package.loadlib(target, "luaopen_bench_probe"))
    bench.probe_module = bench.probe_module or open()
    return bench.probe_module
end

-- lua-resty-lrucache as its users have it: in OpenResty ngx.now is a C function that is called by FFI (lua-resty-core).
-- `constant`: a Lua function that the compiler folds away, the cheapest that there can be.
function bench.lrucache(size, constant)
    local now
    if constant then
        now = function()
            return 1e9
        end
    else
        local fn = require("ffi").cast("double (*)(void)", bench.probe().now)
        now = function()
            return fn()
        end
    end
    rawset(_G, "ngx", { now = now, config = { debug = false }, log = function() end, ALERT = 2 })
    return require("resty.lrucache").new(size)
end

return bench
