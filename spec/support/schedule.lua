-- schedule.lua - races between processes over one shared tier, step by step. Each schedule is written once and runs
-- twice: on the virtual clock with a Redis in Lua, and against a real server with the same pauses.
--
--   schedule.both("a late fill is refused", function(s)
--       local a, b = s:process "a", s:process "b"        caches of one name that hear each other only by the bell
--       local fill = s:stop("a", "fill")                 a's next fill is held before it is sent
--       local reader = s:begin(function() return a:get "item:1" end)
--       fill:reached()  ...  fill:go()                   or go "unsent", go "unheard": it is lost, or its answer
--       assert.equal(10, reader:result().price)
--   end)
--
-- What a process asks is named "a lookup", "a source", ...: the verbs of the shared tier, "pulse", and "source" for a
-- statement of SQLite. stop(name, verb, "answered") holds it where the answer is there and not heard yet. Nobody
-- hears the bell but by s:ring(name) and nothing is due but by s:tend(name). Time passes only in s:pass(seconds) and
-- in waits. s.pause(name, what), where it is set, is called before and after each talk: before one it may give what go
-- takes.

local assert = require "luassert"
local bed = require "spec.support.bed"
local drive = require "larder.drive"
local fake_redis = require "spec.support.fake_redis"
local larder = require "larder"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local resp = require "spec.support.resp"
local sha1 = require "spec.support.sha1"
local state = require "larder.state"
local test = require "larder.host.test"

local schedule = {}
local methods = {}
local unpack = table.unpack or unpack -- luacheck: ignore 113

-- ---- names of talks ------------------------------------------------------------------------------------------------

-- The lines of a script, without comments and space: a list and a set.
local function lines_of(text)
    local list, set = {}, {}
    for line in (text .. "\n"):gmatch "([^\n]*)\n" do
        line = line:gsub("^ *%-%-.*", ""):gsub(" %-%- .*$", ""):gsub("%s", "")
        if line ~= "" then
            list[#list + 1], set[line] = line, true
        end
    end
    return list, set
end

local bodies = {}
for verb in ("lease fill release renew mark set unmark put drop touch drop_all"):gmatch "%S+" do
    local file = assert(io.open("core/l2/redis/" .. verb .. ".lua"))
    local text = file:read "*a"
    bodies[verb] = lines_of(text:match "\n%-%-%-%- cell%.lua\n(.*)" or text)
    file:close()
end

local verbs = {} -- by the script's SHA1

-- A compiled script is that of the verb most of whose lines it has: the common part stands before them.
local function learn(text)
    local _, has = lines_of(text)
    local most = 0
    for verb, body in pairs(bodies) do
        local n = 0
        for _, line in ipairs(body) do
            n = n + (has[line] and 1 or 0)
        end
        if n / #body > most then
            verbs[sha1(text)], most = verb, n / #body
        end
    end
end

-- What a request asks, and its commands.
local function read_request(bytes)
    local verb, list = "pulse", resp.decode_all(bytes)
    for _, argv in ipairs(list) do
        if argv[1] == "SCRIPT" and argv[2] == "LOAD" then
            learn(argv[3])
        elseif argv[1] == "EVALSHA" then
            verb = assert(verbs[argv[2]], "a script that nobody loaded")
        elseif argv[1] == "GET" or argv[1] == "MGET" then
            verb = "lookup"
        end
    end
    return verb, list
end

-- ---- the two servers -----------------------------------------------------------------------------------------------

local worlds = {}

function worlds.virtual(base)
    local fake = fake_redis.new { now = function()
        return base:now() * 1e6
    end }
    return {
        url = "redis://127.0.0.1:1",
        ask = function(...)
            return fake:ask(...)
        end,
        carry = function(op)
            op:feed(fake:feed(op:bytes()))
        end,
        heard = function(list)
            for i = #list + 1, #fake.published do
                list[i] = fake.published[i].payload
            end
        end,
        close = function() end,
    }
end

local server -- one for all schedules of a file; it ends with the process

function worlds.real(_, name)
    server = server or redis.start()
    server:call "FLUSHALL"
    local ear = assert(redis.dial(server.path))
    assert(ear:ask("SUBSCRIBE", "ldr1.bell:" .. name))
    return {
        url = server.url,
        ask = function(...)
            return server:ask(...)
        end,
        carry = function(op)
            op:job()
        end,
        heard = function(list) -- all that was published before is there before the pong
            local reply = assert(ear:ask "PING")
            while reply[1] ~= "pong" do
                list[#list + 1] = reply[3]
                reply = assert(ear:read())
            end
        end,
        close = function()
            ear:close()
        end,
    }
end

-- ---- stops ---------------------------------------------------------------------------------------------------------

local stops = {}
stops.__index = stops

-- Waits until what is to be held is there.
function stops:reached()
    if not self.is_reached then
        self.s.base:wait(self)
    end
    return self
end

-- how: nil; "unsent": the request is lost, "unheard": the answer is; a number: the link breaks after so many commands.
function stops:go(how)
    self.how, self.is_gone = how, true
    self.s.base:wake(self.gate)
end

local function hold(s, name, what)
    local at = name .. " " .. what
    local stop = s.stops[at]
    if s.dead[name] then
        stop = setmetatable({ s = s, gate = {} }, stops)
    end
    if not stop or s.is_over then
        return nil
    end
    s.stops[at] = nil
    s.held[stop] = name
    stop.is_reached = true
    s.base:wake(stop)
    if not stop.is_gone then
        s.base:wait(stop.gate)
    end
    s.held[stop] = nil
    return stop.how
end

-- Holds the next such question of that process: before it is sent, or (when = "answered") before its answer is heard.
function methods:stop(name, verb, when)
    local at = name .. " " .. verb .. (when and " " .. when or "")
    self.stops[at] = setmetatable({ s = self, gate = {}, at = at }, stops)
    return self.stops[at]
end

-- ---- talks ---------------------------------------------------------------------------------------------------------

-- The first n commands reach the server, and the answers are heard, or are not.
local function carry_some(s, op, list, n, is_heard)
    local out = {}
    for i = 1, n do
        out[i] = resp.write(s.world.ask(unpack(list[i], 1, list[i].n)))
    end
    op:feed(is_heard and table.concat(out) or nil)
end

local function carry(s, op, list, how)
    op:bytes() -- it is sent now
    if how == "unsent" then
        carry_some(s, op, list, 0)
    elseif how == "unheard" then
        carry_some(s, op, list, #list)
    elseif how then
        carry_some(s, op, list, how, true)
    else
        s.world.carry(op)
    end
end

local function job(s, name, op)
    local bytes = op:bytes()
    local verb, list = "source", nil
    if bytes then
        verb, list = read_request(bytes)
    end
    s.talks[#s.talks + 1] = name .. " " .. verb
    local how = hold(s, name, verb) or s.pause and s.pause(name, verb)
    if bytes then
        carry(s, op, list, how)
    else
        op:job()
    end
    hold(s, name, verb .. " answered")
    if s.pause then
        s.pause(name, verb .. " answered")
    end
end

-- ---- processes -----------------------------------------------------------------------------------------------------

-- The host of one process: the schedule's, but for what it asks.
local function host_of(s, name)
    local base = s.base
    local host = setmetatable({ alone = true, redis = true }, { __index = function(_, field)
        local got = base[field]
        if type(got) ~= "function" then
            return got
        end
        return function(_, ...)
            return got(base, ...)
        end
    end })
    function host.job(_, op)
        job(s, name, op)
    end
    function host.tend(_, ud)
        local op = ud:tend_op()
        if op then
            drive.run({ sched = host }, op, {})
            op:finish()
        end
    end
    return host
end

-- A cache as a process of its own would have it, which hears the bell from now on. options: those of larder.open;
-- without a source it has SQLite's table of items, with source = false none.
function methods:process(name, options)
    local given = { source = larder.source.sqlite { file = self.file, models = {
        item = { table = "items", key = "id", version = "version" } } }, changes = false }
    for key, value in pairs(options or {}) do
        given[key] = value
    end
    if given.source == false then
        given.source, given.changes = nil, nil
    end
    given.name, given.l2, given.host = self.name, self.world.url, host_of(self, name)
    local cache = assert(larder.open(given))
    self.processes[#self.processes + 1] = { cache = cache, name = name }
    self.of[name] = { cache = cache, core = state.check(cache, "process").core, host = given.host, n_heard = 0 }
    self:subscribe(name)
    if given.source and given.source.kind == "sqlite" then
        assert(cache:get "item:5") -- so that it knows the shape of rows
    end
    return cache
end

-- It hears the bell (again) from here on; what was rung before is past.
function methods:subscribe(name)
    local p = self.of[name]
    p.core:hear(true)
    self:miss(name)
    p.host:tend(p.core)
end

-- Its subscription breaks.
function methods:unsubscribe(name)
    self.of[name].core:hear(false)
end

-- The process hears all that was rung since it heard last; gives how many.
function methods:ring(name)
    local p = self.of[name]
    self.world.heard(self.payloads)
    local n = #self.payloads - p.n_heard
    for i = p.n_heard + 1, #self.payloads do
        p.core:hear(self.payloads[i])
    end
    p.n_heard = #self.payloads
    return n
end

-- What was rung since is lost on its way to that process; gives how many.
function methods:miss(name)
    local p = self.of[name]
    self.world.heard(self.payloads)
    local n = #self.payloads - p.n_heard
    p.n_heard = #self.payloads
    return n
end

-- A round of what its listener does: renewals, what is sent again, the pulse.
function methods:tend(name)
    local p = self.of[name]
    p.host:tend(p.core)
end

-- It looks for changes of other programs.
function methods:look(name)
    self.of[name].core:poll(true)
end

-- kill -9: from here on it asks nothing, and hears no answer.
function methods:kill(name)
    self.dead[name] = true
end

-- ---- the world around ----------------------------------------------------------------------------------------------

function methods:pass(seconds)
    self.base:sleep(seconds)
end

function methods:now()
    return self.base:now()
end

-- Redis loses the key, as it may at any time.
function methods:evict(key)
    self.world.ask("DEL", "ldr1:" .. self.name .. ":" .. key)
end

function methods:flush()
    self.world.ask "FLUSHALL"
end

-- Another program writes the table.
function methods:sql(text, ...)
    return assert(self.db:query(text, ...))
end

function methods:price(id)
    local row = self:sql("SELECT price FROM items WHERE id = ?", id)[1]
    return row and row.price
end

-- How often that was asked since the schedule began, or since `from` (a number of talks).
function methods:count(name, verb, from)
    local n = 0
    for i = (from or 0) + 1, #self.talks do
        local who, what = self.talks[i]:match "^(%S+) (%S+)$"
        n = n + ((who == name and (not verb or what == verb)) and 1 or 0)
    end
    return n
end

-- ---- tasks ---------------------------------------------------------------------------------------------------------

local tasks = {}
tasks.__index = tasks

-- What it gave, when it has ended.
function tasks:result()
    if not self.got then
        self.s.base:wait(self)
    end
    if not self.got[1] then
        error(self.got[2], 0)
    end
    return unpack(self.got, 2, self.got.n)
end

local function pack(...)
    return { n = select("#", ...), ... }
end

-- fn goes on beside the schedule.
function methods:begin(fn)
    local task = setmetatable({ s = self }, tasks)
    self.base:spawn(function()
        task.got = pack(pcall(fn))
        self.talks[#self.talks + 1] = not task.got[1] and "a task failed: " .. tostring(task.got[2]) or nil
        self.base:wake(task)
    end)
    return task
end

-- ---- a schedule ----------------------------------------------------------------------------------------------------

local n_schedules = 0

local function new(kind, options)
    n_schedules = n_schedules + 1
    local s = setmetatable({ kind = kind, name = "race" .. n_schedules, payloads = {}, talks = {}, stops = {},
        held = {}, dead = {}, processes = {}, of = {} }, { __index = methods })
    s.base = test.new { moved = kind == "real" and function(by)
        assert(by < 5, "nobody does anything for a long time")
        posix.sleep(math.ceil(by * 1000))
    end or nil }
    s.world = worlds[kind](s.base, s.name)
    s.file, s.db, s.remove = bed.items { changes = options.changes }
    return s
end

-- Who is held goes on; what a dead process asked is answered by nobody.
local function let_go(s)
    s.is_over = true
    for stop, name in pairs(s.held) do
        stop:go(s.dead[name] and "unsent" or nil)
    end
end

local function close(s)
    for _, p in ipairs(s.processes) do
        p.cache:close(0)
    end
    s.world.close()
    s.remove()
end

function schedule.run(kind, options, body)
    local s = new(kind, options)
    local fine, err
    local ran, why = pcall(s.base.run, s.base, function()
        fine, err = xpcall(function() body(s) end, function(e)
            return type(e) == "string" and debug.traceback(e, 2) or e
        end)
        let_go(s)
    end)
    close(s)
    if not fine or not ran then
        local told, talks = err or why, "\n" .. table.concat(s.talks, "\n")
        if type(told) == "table" and type(told.message) == "string" then
            told.message = told.message .. talks
        end
        error(type(told) == "string" and told .. talks or told, 0)
    end
end

-- Asserts that get of a row gives that price (nil: there is none), by that outcome.
function schedule.gives(price, outcome, cache, key)
    local row, err, how = cache:get(key)
    assert.same({ price, outcome }, { row and row.price, err and tostring(err) or how })
end

-- A schedule on the virtual clock and against a real server. options: changes = true: the table has a change table.
function schedule.both(title, body, options)
    local it = require("busted").it
    for _, where in ipairs { "on the virtual clock", "against a real server" } do
        it(title .. ", " .. where, function()
            schedule.run(where:match "virtual" or "real", options or {}, body)
        end)
    end
end

return schedule
