-- demo.lua - `larder demo`: a shop in SQLite, a real trace, first without a cache, then through each pattern; every
-- value is compared with what the table held. With --redis once more by two processes that share a cache.

local half = require "larder.cli.half"
local json = require "larder.cli.json"
local larder = require "larder"
local pair = require "larder.cli.pair"
local place = require "larder.cli.place"
local progress = require "larder.cli.progress"
local replay = require "larder.cli.replay"
local screen = require "larder.cli.screen"
local shop = require "larder.cli.shop"
local terminal = require "larder.cli.terminal"
local trace = require "larder.cli.trace"
local truth = require "larder.cli.truth"

local core = require "larder.core"

local demo = {}

local PRODUCTS, ENTRIES = 100000, 5000
local QUICK_PRODUCTS, QUICK_ENTRIES, QUICK_REQUESTS = 5000, 1000, 10000
local INTERVAL = half.INTERVAL
local SLACK = "0.4"  -- for a thread that gets its turn late on a busy machine

-- The command's own options, for argparse.
function demo.options(command)
    command:option("--trace", "An access trace: lines `key` or `key size`, plain or .gz."):argname "FILE"
    command:option("--seed", "What the shop and the writes are drawn from."):argname "N":convert(function(text)
        local n = tonumber(text)
        return n and n >= 0 and n <= 1e9 and n == math.floor(n) and n or nil, "--seed: a whole number from 0 to 1e9"
    end):default "1"
    command:option("--slack", "How late after changes.interval a change may be heard of."):argname "SECONDS"
        :convert(function(text)
            local n = tonumber(text)
            return n and n >= 0 and n <= 60 and n or nil, "--slack: seconds from 0 to 60"
        end):default(SLACK)
    command:flag("--json", "One JSON object instead of a screen.")
    command:flag("--quick", "The first 10,000 requests and a smaller shop.")
    command:option("--redis", "Two processes over a shared tier, too: redis://[user:password@]host[:port][/db] or "
        .. "redis+unix:///path; without a value LARDER_REDIS, else an own redis-server."):args "?":argname "URL"
    command:option("--postgres", "Not built yet."):args "?":argname "DSN"
end

---- the runs --------------------------------------------------------------------------------------------------------

local function source_of(file)
    return larder.source.sqlite { file = file, models = { product = { table = "products", version = "version" } } }
end

local function through(cache, key)
    return cache:get(key)
end

-- How each run opens its cache, reads and writes.
local RUNS = {
    { name = "no cache", pattern = "write_through", l1 = false },
    { name = "cache_aside", pattern = "cache_aside", aside = true },
    { name = "read_through", pattern = "read_through" },
    { name = "write_around", pattern = "write_around" },
    { name = "write_through", pattern = "write_through" },
}

local function aside_get(store)
    local function load(_, id)
        return store:load(id)
    end
    return function(cache, key, id)
        return cache:get(key, load, id)
    end
end

local function writer(kind, cache, store)
    if kind.aside then
        return function(id, edition)
            return cache:write("product:" .. id, function()
                return store:update("own", id, edition)
            end)
        end
    end
    return function(id, edition)
        return cache:set("product:" .. id, store:columns(id, edition))
    end
end

local function run_one(kind, plan)
    local cache = assert(larder.open {
        pattern = kind.pattern, source = source_of(plan.store.file), changes = { interval = INTERVAL },
        l1 = kind.l1 ~= false and { entries = plan.entries } or false,
    })
    plan.progress:start(kind.name)
    local result = replay.run {
        cache = cache, get = kind.aside and aside_get(plan.store) or through,
        write = writer(kind, cache, plan.store),
        foreign = function(id, edition)
            return plan.store:update("other", id, edition)
        end,
        requests = plan.requests, ids = plan.ids, keys = plan.keys, truth = plan.truth, seed = plan.seed,
        progress = plan.progress,
    }
    cache:close()
    result.pattern = kind.name
    local text = "%d reads, %d queries, %d wrong"
    plan.progress:done(text:format(result.requests, result.queries, result.violations))
    return result
end

---- the plan --------------------------------------------------------------------------------------------------------

local function plan_of(args, read, name, bar, folder)
    local requests, distinct = read.requests, read.distinct
    if args.quick then
        requests, distinct = trace.cut(read, QUICK_REQUESTS)
    end
    local n = math.max(args.quick and QUICK_PRODUCTS or PRODUCTS, distinct)
    bar:start "making the shop"
    local store = shop.new(folder .. "/shop.db", n, args.seed, bar)
    bar:done(("%d products"):format(n))
    local ids, keys = half.spread(distinct, n)
    return { store = store, truth = truth.new(store, INTERVAL + args.slack), bound = INTERVAL + args.slack,
        requests = requests, distinct = distinct, ids = ids, keys = keys, seed = args.seed, progress = bar,
        products = n, trace = name,
        entries = args.quick and QUICK_ENTRIES or ENTRIES }
end

local function report_of(args, read, plan, runs)
    local report = { trace = read.name, seed = args.seed, requests = #plan.requests, distinct = plan.distinct,
        products = plan.products, entries = plan.entries, interval_seconds = INTERVAL, slack_seconds = args.slack,
        bound_seconds = INTERVAL + args.slack, runs = runs, violations = 0, checked = 0, version = larder._VERSION,
        lua = rawget(_G, "jit") and rawget(_G, "jit").version or _VERSION }
    for _, run in ipairs(runs) do
        report.violations = report.violations + run.violations
        report.checked = report.checked + run.requests
        report.first_violation = report.first_violation or run.first_violation
        report.shared, run.shared = run.shared, nil
    end
    return report
end

---- a folder that goes away -----------------------------------------------------------------------------------------

local function make_folder()
    local pipe = io.popen "mktemp -d 2>/dev/null"
    local name = pipe:read "*l"
    pipe:close()
    return name and name ~= "" and name or nil
end

local function remove_folder(folder)
    for _, name in ipairs { "shop.db", "shop.db-wal", "shop.db-shm", "shop.db-journal", "plan.lua", "half.log" } do
        os.remove(folder .. "/" .. name)
    end
    os.remove(folder)
end

local function all_runs(args, given, bar, folder)
    local began = core.now()
    local read = given.trace
    local plan = plan_of(args, read, given.name, bar, folder)
    local runs = {}
    for i, kind in ipairs(RUNS) do
        runs[i] = run_one(kind, plan)
    end
    if given.url then
        runs[#runs + 1] = pair.run(plan, given.url, folder)
    end
    plan.store:close()
    local report = report_of(args, read, plan, runs)
    if report.shared then
        report.shared.server = given.server
    end
    report.seconds = core.now() - began
    return report
end

local function refuse(text, status)
    io.stderr:write("larder demo: ", text, "\n")
    return status
end

local function show(args, report, look)
    if args.json then
        io.stdout:write(json.encode(report), "\n")
    else
        io.stdout:write(table.concat(screen.lines(report, look), "\n"), "\n")
    end
end

-- The server of the shared tier: a function that ends it where it is our own; or nil, why and the exit status.
local function find_server(args, given, folder)
    local url, stop = place.named(args.redis), function() end
    given.server = url and place.shown(url) or "an own redis-server"
    if not url then
        local code
        url, stop, code = place.start(folder)
        if not url then
            return nil, stop, code
        end
    end
    local there, why, code = place.check(url)
    if not there then
        stop()
        return nil, why, code
    end
    given.url = url
    return stop
end

-- Everything in a folder that is there: the report; or nil, why not and the exit status.
local function report_in(folder, args, given, bar)
    local function stop() end
    if args.redis then
        local ended, reason, code = find_server(args, given, folder)
        if not ended then
            return nil, reason, code
        end
        stop = ended
    end
    local fine, report = xpcall(all_runs, debug.traceback, args, given, bar, folder)
    stop()
    if not fine and tostring(report):find "interrupted!" then
        return nil, "interrupted", 130
    elseif not fine then
        return nil, tostring(report), 1
    end
    return report
end

-- Runs the command; gives the exit status.
function demo.run(args)
    if args.postgres then
        return refuse("--postgres is not built yet (" .. larder._VERSION .. "); the demo runs on SQLite without it", 2)
    end
    local name = args.trace or trace.carried()
    if not name then
        return refuse("the trace that comes with Larder is not there; name one with --trace FILE", 2)
    end
    local read, why = trace.read(name)
    if not read then
        return refuse(why, 2)
    end
    local look = not args.json and terminal.find() or nil
    local folder = make_folder()
    if not folder then
        return refuse("cannot make a temporary folder", 1)
    end
    local report, reason, status = report_in(folder, args, { name = name, trace = read }, progress.new(look))
    remove_folder(folder)
    if not report then
        return refuse(reason, status)
    end
    show(args, report, look)
    return report.violations == 0 and 0 or 1
end

return demo
