-- nginx_app.lua - what the nginx that nginx_spec.lua drives serves: each location calls the function of its name.
--
-- The cache is opened in the master. `slow` is a model whose load keeps SQLite at work for some time.

local cjson = require "cjson"
local core = require "larder.core"
local larder = require "larder"

local app = {}

local folder = ngx.config.prefix()
local COUNT = tonumber(os.getenv("LARDER_SPEC_COUNT")) or 100000

-- A seeded bug: jobs in the caller's place, as the blocking host does them.
if os.getenv("LARDER_SPEC_BUG") == "in_line" then
    local host = require "larder.host.nginx"
    host.stuck = nil
    host.can_wait = function()
        return false
    end
end

local function open(extra)
    local options = { ttl = 300, source = larder.source.sqlite { file = folder .. "shop.db", models = {
        product = { table = "products", version = "version" },
        slow = { table = "products", sql = { load = ([[
            WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT %d)
            SELECT id, title, (SELECT count(*) FROM c) AS counted FROM products WHERE id = ?1]]):format(COUNT) } },
    } } }
    for name, value in pairs(extra or {}) do
        options[name] = value
    end
    return assert(larder.open(options))
end

local cache = open()
local asking = open { ttl = function() return 300 end }
local plain = assert(larder.open { ttl = 300 })
plain:set("held", "a value of the master")
local in_init = { cache:get("product:1") }

local function say(t)
    ngx.header.content_type = "application/json"
    ngx.say(cjson.encode(t))
end

local function told(value, err, outcome)
    return { value = value, code = err and err.code, message = err and err.message, outcome = outcome }
end

function app.get()
    say(told(cache:get(ngx.var.arg_key)))
end

function app.peek()
    local value, outcome = cache:peek(ngx.var.arg_key)
    say { value = value, outcome = outcome }
end

function app.set()
    local version, err = cache:set(ngx.var.arg_key, { title = ngx.var.arg_title, cents = 5 })
    say { version = version, code = err and err.code, message = err and err.message }
end

function app.init()
    local held, _, outcome = plain:get("held")
    say { missed = told(unpack(in_init, 1, 3)), held = held, outcome = outcome, pid = ngx.worker.pid() }
end

function app.stats()
    local s = cache:stats()
    say { loads = s.loads, misses = s.misses, joined = s.joined, hits = s.hits }
end

-- Ticks each millisecond until told to stop; notes how late the latest tick was.
local function tick(clock)
    local due = core.now() + 0.001
    while not clock.stop do
        ngx.sleep(0.001)
        local now = core.now()
        clock.ticks, clock.worst = clock.ticks + 1, math.max(clock.worst, now - due)
        due = now + 0.001
    end
end

-- The timer alone, with nothing else to do: how late this machine makes it.
function app.idle()
    local clock = { ticks = 0, worst = 0 }
    local ticker = ngx.thread.spawn(tick, clock)
    ngx.sleep(1)
    clock.stop = true
    ngx.thread.wait(ticker)
    say(clock)
end

-- arg_n gets at once, of different keys or of one (arg_same), while the worker's timer ticks.
function app.storm()
    local clock = { ticks = 0, worst = 0 }
    local ticker = ngx.thread.spawn(tick, clock)
    ngx.sleep(0.02)
    local of = ngx.var.arg_asking and asking or cache
    local first, n, same = tonumber(ngx.var.arg_first), tonumber(ngx.var.arg_n), ngx.var.arg_same
    local before, ticks, began = of:stats().loads, clock.ticks, core.now()
    local threads, right, outcomes = {}, 0, {}
    for i = 1, n do
        threads[i] = ngx.thread.spawn(function()
            local id = same and first or first + i - 1
            local value, err, outcome = of:get("slow:" .. id, { timeout = 60, wait = 60 })
            if err then
                ngx.log(ngx.ERR, tostring(err))
            elseif value and value.id == id and value.counted == COUNT then
                right = right + 1
            end
            outcomes[outcome or "error"] = (outcomes[outcome or "error"] or 0) + 1
        end)
    end
    for i = 1, n do
        ngx.thread.wait(threads[i])
    end
    local took = core.now() - began
    ticks, clock.stop = clock.ticks - ticks, true
    ngx.thread.wait(ticker)
    say { took = took, ticks = ticks, worst = clock.worst, right = right, loads = of:stats().loads - before,
        outcomes = outcomes }
end

-- One load alone, for what a job costs.
function app.one()
    local began = core.now()
    local value, err = cache:get("slow:" .. ngx.var.arg_id)
    say { took = core.now() - began, fine = value ~= nil, message = err and err.message }
end

-- What phases that cannot yield get of a key that is held, of one that is not, and of a loader that needs no wait.
local function stuck(of_phase)
    local hit, _, hit_outcome = cache:get("product:2")
    local miss, err = cache:get("product:900")
    local many, errs = cache:get_many { "product:2", "product:901" }
    local loaded = plain:get("made in " .. of_phase, function()
        return "made"
    end)
    local version, refused = cache:set("product:902", { title = "x", cents = 1 })
    return { phase = ngx.get_phase(), hit = hit and hit.id, outcome = hit_outcome, miss = miss, code = err and err.code,
        message = err and err.message, many = many and many["product:2"] and many["product:2"].id,
        many_code = errs and errs["product:901"] and errs["product:901"].code, loaded = loaded, version = version,
        refused = refused and refused.code }
end

local kept = {}

function app.phase()
    kept[#kept + 1] = stuck(ngx.get_phase())
    return ""
end

function app.phases()
    cache:get("product:2")
    ngx.say("fine")
end

function app.kept()
    say(kept)
end

-- Within a function of C that cannot be left.
function app.sorted()
    local seen
    cache:get("product:2")
    table.sort({ 2, 1 }, function(a, b)
        seen = seen or stuck("sort")
        return a < b
    end)
    say(seen)
end

-- A loader in Lua that waits, and whose request is gone before it ends.
function app.leave()
    ngx.thread.spawn(function()
        plain:get("left", function()
            ngx.sleep(0.3)
            return "ended"
        end)
    end)
    ngx.sleep(0.05)
    ngx.say("gone")
    ngx.exit(200)
end

function app.left()
    local began = core.now()
    local value, err, outcome = plain:get("left", function()
        return "loaded again"
    end)
    local t = told(value, err, outcome)
    t.took = core.now() - began
    say(t)
end

-- A request that ends while its write and its read are with the thread.
function app.drop()
    ngx.thread.spawn(function()
        cache:get("slow:400")
    end)
    ngx.thread.spawn(function()
        cache:set("product:400", { title = "dropped", cents = 1 })
    end)
    ngx.sleep(0.001)
    ngx.say("dropped")
    ngx.exit(200)
end

function app.collect()
    local began = core.now()
    collectgarbage()
    collectgarbage()
    say { took = core.now() - began }
end

function app.deadline()
    local began = core.now()
    local value, err = cache:get("slow:" .. ngx.var.arg_id, { timeout = 0.002 })
    local t = told(value, err)
    t.took = core.now() - began
    say(t)
end

function app.forget()
    cache:invalidate_all()
    asking:invalidate_all()
    say {}
end

function app.run()
    local order = {}
    larder.run(function()
        larder.sleep(0.01)
        order[#order + 1] = "slept"
        larder.spawn(function()
            order[#order + 1] = "spawned"
        end)
    end, function()
        order[#order + 1] = "first"
    end)
    local fine, e = pcall(larder.run, function()
        error("as told", 0)
    end)
    say { order = order, fine = fine, e = e }
end

-- The pump's socket, as others see it.
function app.socket()
    local path = require("larder.core").loop()
    local where = path:listen()
    local p = io.popen("stat -c '%a %U' " .. where .. " && stat -c %a $(dirname " .. where .. ")")
    local modes = p:read("*a")
    p:close()
    local accepted = path:accept()
    local f = io.open(where)
    say { modes = modes, accepted = accepted, there = f ~= nil }
    path:close()
end

-- Larder's wake-up alone: what a load of a small row takes, and how much memory many of them leave behind.
function app.many()
    local n, began = tonumber(ngx.var.arg_n), core.now()
    for _ = 1, n do
        cache:refresh("product:3")
    end
    local f = io.open("/proc/self/statm")
    local _, pages = f:read("*n", "*n")
    f:close()
    say { each = (core.now() - began) / n, resident = pages * 4096 }
end

function app.pid()
    say { pid = ngx.worker.pid() }
end

return app
