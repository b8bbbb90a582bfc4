-- fake_redis.lua - a Redis of the test bed in Lua, on a clock that is handed in: bytes of requests in, bytes of
-- replies out. What it knows is what Larder uses, and that answers as Redis 7.0 does, errors and server-side scripts
-- too; the spec of it (fake_redis_spec.lua) compares them.
--
--   local fake = fake_redis.new { now = function() return us end }
--   local bytes = fake:feed(request)             one connection for all; fake:connect():feed(...) for others
--   fake.published                               { { channel =, payload =, push = bytes for a subscriber }, ... }
--   fake.mode = "OOM" | "READONLY" | "LOADING" | "MISCONF" | nil
--   fake:evict(key)  fake:restart { empty = true }  fake:restart { copy = fake:save() }  fake.offset_us = -5e6
local resp = require "spec.support.resp"
local script = require "spec.support.fake_script"
local sha1 = require "spec.support.sha1"

local fake_redis = {}
local methods = {}
local connection = {}
connection.__index = connection

local set = require "spec.support.fake_commands"
local commands, command, branches = set.commands, set.command, set.branches

local modes = {
    OOM = "OOM command not allowed when used memory > 'maxmemory'.",
    READONLY = "READONLY You can't write against a read only replica.",
    LOADING = "LOADING Redis is loading the dataset in memory",
    MISCONF = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "
        .. "Commands that may modify the data set are disabled, because this instance is configured to report errors "
        .. "during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs "
        .. "for details about the RDB error.",
}

function methods:now_ms()
    return math.floor((self.now() + self.offset_us) / 1000)
end

-- ---- scripts -------------------------------------------------------------------------------------------------------

-- Scripts are the same for all servers of a process: { sha =, fn = } by text.
local compiled = {}

-- The script's name; nil, an error.
local function learn(self, text)
    local known = compiled[text]
    if not known then
        local fn, why = script.compile(text)
        if not fn then
            return nil, { err = "ERR Error compiling script (new function): " .. why }
        end
        known = { sha = sha1(text), fn = fn }
        compiled[text] = known
    end
    self.scripts[known.sha] = known.fn
    return known.sha
end

branches("SCRIPT", "n", {
    LOAD = { 3, function(self, _, argv)
        local sha, wrong = learn(self, argv[3])
        return sha or wrong
    end },
    EXISTS = { -3, function(self, _, argv)
        local list = { n = #argv - 2 }
        for i = 3, #argv do
            list[i - 2] = self.scripts[argv[i]:lower()] and 1 or 0
        end
        return list
    end },
    FLUSH = { -2, function(self)
        self.scripts = {}
        return set.OK
    end },
})

-- Why the server refuses a command in its mode; nil: it does not.
local function refusal(self, cmd, is_dirty)
    local mode, flags = self.mode, cmd.flags
    local is_meant = mode == "LOADING" and not flags:find "l" or mode == "OOM" and flags:find "m" and not is_dirty
        or (mode == "READONLY" or mode == "MISCONF") and flags:find "w" or mode == "MISCONF" and cmd.name == "PING"
    return is_meant and { err = modes[mode] } or nil
end

local function has_arity(cmd, argv)
    return cmd.arity == #argv or (cmd.arity < 0 and #argv >= -cmd.arity)
end

-- redis.pcall of one run of a script: a copy of the connection, as Redis runs it in that one's database.
local function caller(self, c)
    local is_dirty = false
    return function(...)
        local argv = { ... }
        for i = 1, select("#", ...) do
            local kind = type(argv[i])
            if kind ~= "string" and kind ~= "number" then
                return { err = "ERR Lua redis lib command arguments must be strings or integers" }
            end
            argv[i] = kind == "number" and ("%.17g"):format(argv[i]) or argv[i]
        end
        local cmd = argv[1] and commands[argv[1]:upper()]
        local why = not argv[1] and "Please specify at least one argument for this redis lib call"
            or not cmd and "Unknown Redis command called from script"
            or cmd.flags:find "n" and "This Redis command is not allowed from script"
            or not has_arity(cmd, argv) and "Wrong number of args calling Redis command from script"
        local refused = why and { err = "ERR " .. why } or refusal(self, cmd, is_dirty)
        if refused then
            return { err = refused.err }
        end
        is_dirty = is_dirty or cmd.flags:find "w" ~= nil
        return script.value_of(cmd.run(self, c, argv))
    end
end

local function evaluate(self, c, argv, sha)
    local n = set.integer(argv[3])
    if not n then
        return set.NO_INTEGER
    elseif n > #argv - 3 or n < 0 then
        return { err = n < 0 and "ERR Number of keys can't be negative"
            or "ERR Number of keys can't be greater than number of args" }
    end
    local wrong
    if not sha then
        sha, wrong = learn(self, argv[2])
    end
    local fn = self.scripts[sha]
    if wrong or not fn then
        return wrong or { err = "NOSCRIPT No matching script. Please use EVAL." }
    end
    local keys, rest = {}, {}
    for i = 4, #argv do
        local list = i < 4 + n and keys or rest
        list[#list + 1] = argv[i]
    end
    return script.run(fn, caller(self, c), keys, rest, sha)
end

command("EVAL", -3, "n", evaluate)
command("EVALSHA", -3, "n", function(self, c, argv)
    return evaluate(self, c, argv, argv[2]:lower())
end)

-- ---- a connection --------------------------------------------------------------------------------------------------

local function unknown(argv)
    local words = {}
    for i = 2, #argv do
        words[#words + 1] = "'" .. argv[i] .. "' "
    end
    return { err = ("ERR unknown command '%s', with args beginning with: %s"):format(argv[1], table.concat(words)) }
end

local function answer(self, c, argv)
    local cmd = commands[argv[1]:upper()]
    if not cmd then
        return unknown(argv)
    elseif not has_arity(cmd, argv) then
        return { err = ("ERR wrong number of arguments for '%s' command"):format(cmd.name:lower()) }
    elseif self.password and not c.is_known and cmd.name ~= "AUTH" then
        return { err = "NOAUTH Authentication required." }
    end
    return refusal(self, cmd) or cmd.run(self, c, argv)
end

-- Takes bytes of requests, whole or in parts; gives the bytes of the replies to those that are whole. nil,
-- "closed" after a restart of the server.
function connection:feed(bytes)
    if self.is_closed then
        return nil, "closed"
    end
    self.text = self.text .. bytes
    local out, at = {}, 1
    while at <= #self.text do
        local argv, next_at = resp.decode(self.text, at)
        if not argv then
            break
        end
        self.server.asked[#self.server.asked + 1] = argv
        local reply = answer(self.server, self, argv)
        out[#out + 1] = type(reply) == "table" and reply.all and table.concat(reply) or resp.write(reply)
        at = next_at
    end
    self.text = self.text:sub(at)
    return table.concat(out)
end

-- One command, its reply as resp.lua gives it.
function connection:ask(...)
    local bytes, why = self:feed(resp.encode(...))
    if not bytes then
        return nil, why
    end
    return (resp.decode(bytes))
end

-- ---- the server ----------------------------------------------------------------------------------------------------

function methods:connect()
    self.n_connections = self.n_connections + 1
    local c = setmetatable({
        server = self, text = "", db = 0.0, channels = {}, n_channels = 0, id = self.n_connections,
    }, connection)
    self.connections[c] = true
    return c
end

-- By a connection that is made where there is none.
function methods:feed(bytes)
    if not self.first or self.first.is_closed then
        self.first = self:connect()
    end
    return self.first:feed(bytes)
end

function methods:ask(...)
    return (resp.decode((self:feed(resp.encode(...)))))
end

function methods:empty()
    self.dbs = {}
    for i = 0, 15 do
        self.dbs[i] = {}
    end
end

-- As Redis evicts a key at maxmemory: nobody is told.
function methods:evict(key, db)
    self.dbs[db or 0][key] = nil
end

local function deep(value)
    if type(value) ~= "table" then
        return value
    end
    local out = {}
    for name, one in pairs(value) do
        out[name] = deep(one)
    end
    return out
end

-- A copy of all data.
function methods:save()
    return deep(self.dbs)
end

-- All connections end, scripts are forgotten; data stays, unless empty, or is the copy's.
function methods:restart(options)
    options = options or {}
    for c in pairs(self.connections) do
        c.is_closed = true
    end
    self.connections, self.scripts, self.n_runs = {}, {}, self.n_runs + 1
    self.run_id = sha1("run " .. self.n_runs)
    if options.empty then
        self:empty()
    elseif options.copy then
        self.dbs = deep(options.copy)
    end
end

-- options: now (us, needed), password, user. `asked` lists all commands that came, until the owner empties it.
function fake_redis.new(options)
    local self = setmetatable({
        now = options.now, offset_us = 0, password = options.password, user = options.user or "default",
        published = {}, asked = {}, connections = {}, n_connections = 0, n_runs = 0,
    }, { __index = methods })
    self:empty()
    self:restart()
    return self
end

return fake_redis
