-- redis.lua - real Redis servers of the specs: each in a temporary folder, on a unix socket and, where asked for, on a
-- port of 127.0.0.1 of its own. They end with the process that started them.
--
--   local server = redis.start { port = true, config = { maxmemory = "2mb" } }
--   cache: l2 = server.url      server:call("SET", "k", "v")      server:kill()      server:restart()
--   server:close()
local folder = require "spec.support.folder"
local posix = require "spec.support.posix"
local resp = require "spec.support.resp"
local shell = require "spec.support.shell"

local redis = { deadline_ms = 5000 }
local methods = {}
local meta = { __index = methods }

-- ---- a client of the specs ------------------------------------------------------------------------------------------

local client = {}
client.__index = client

-- A connection to a path or a port; nil, why.
function redis.dial(where)
    local fd, why = posix.dial(where)
    return fd and setmetatable({ fd = fd, text = "", owner = posix.getpid() }, client), why
end

-- The next reply as resp.lua gives it, within ms; nil and why where none comes: "timeout", "closed", ...
function client:read(ms)
    local until_ms = posix.now() + (ms or redis.deadline_ms)
    while true do
        local value, at = resp.decode(self.text)
        if value ~= nil then
            self.text = self.text:sub(at)
            return value
        end
        local more, why = posix.recv(self.fd, math.max(0, until_ms - posix.now()))
        if not more or more == "" then
            return nil, why or "closed"
        end
        self.text = self.text .. more
    end
end

-- A command and its reply as resp.lua gives it; nil, why.
function client:ask(...)
    local fine, why = posix.send(self.fd, resp.encode(...))
    if not fine then
        return nil, why
    end
    return self:read()
end

function client:send(bytes)
    return posix.send(self.fd, bytes)
end

function client:close()
    if self.fd then
        posix.close(self.fd)
        self.fd = nil
    end
end

-- ---- commands ------------------------------------------------------------------------------------------------------

-- The reply as resp.lua gives it ({ err = }, { ok = }, false); raises where none comes. One connection for all,
-- made anew after a restart or a fork.
function methods:ask(...)
    if self.client and self.client.owner ~= posix.getpid() then
        self.client = nil
    end
    self.client = self.client or assert(redis.dial(self.path))
    local value, why = self.client:ask(...)
    if value == nil then
        self.client:close()
        self.client = nil
        error(("%s: no reply: %s"):format((...), why), 2)
    end
    return value
end

-- The reply in plain values: a status is a string, nil nil; an error is raised.
function methods:call(...)
    local value = self:ask(...)
    if type(value) == "table" and value.err then
        error(("%s: %s"):format((...), value.err), 2)
    elseif type(value) == "table" then
        return value.ok or value.big or value
    end
    return value or nil
end

function methods:config(name, value)
    return self:call("CONFIG", "SET", name, tostring(value))
end

-- A field of INFO as a string.
function methods:info(field)
    return self:call "INFO":match("\n" .. field .. ":([^\r\n]*)")
end

-- ---- life ----------------------------------------------------------------------------------------------------------

local function answers(self)
    local one = redis.dial(self.path)
    local value = one and one:ask "PING"
    if one then
        one:close()
    end
    return value and not (value.err or ""):find "^LOADING"
end

local function words_of(self)
    local words = {
        "redis-server", "--port", tostring(self.port or 0), "--bind", "127.0.0.1", "--unixsocket", self.path, "--dir",
        self.folder, "--save", "", "--appendonly", "no", "--daemonize", "no", "--pidfile", self.folder .. "/pid",
    }
    for name, value in pairs(self.options.config or {}) do
        words[#words + 1] = "--" .. name
        words[#words + 1] = tostring(value)
    end
    return words
end

local function spawn(self)
    os.remove(self.path)
    self.pid = posix.spawn(words_of(self), self.log)
    local until_ms = posix.now() + redis.deadline_ms
    while not answers(self) do
        local status = posix.reap(self.pid, 2)
        if status or posix.now() > until_ms then
            local file = io.open(self.log)
            local text = file and file:read "*a" or ""
            error(("redis-server does not answer (%s):\n%s"):format(status or "it runs", text), 0)
        end
    end
end

local function ended(self)
    if self.client then
        self.client:close()
        self.client = nil
    end
    if not posix.reap(self.pid, redis.deadline_ms) then
        posix.kill(self.pid, "KILL")
        posix.reap(self.pid, redis.deadline_ms)
    end
    self.pid = nil
end

-- Its data goes, for nothing is saved; the socket's file goes, too.
function methods:stop()
    if self.pid then
        posix.kill(self.pid, "CONT")
        posix.kill(self.pid, "TERM")
        ended(self)
    end
end

-- kill -9: connections end, the socket's file stays.
function methods:kill()
    if self.pid then
        posix.kill(self.pid, "KILL")
        ended(self)
    end
end

-- SIGSTOP: connections stand, the kernel still takes new ones, nothing is answered.
function methods:pause()
    posix.kill(self.pid, "STOP")
end

function methods:resume()
    posix.kill(self.pid, "CONT")
end

-- Keeps a copy of all data under a name, for restart { copy = name }.
function methods:save(name)
    self:call "SAVE"
    local _, status = shell.run(("cp %s/dump.rdb %s/%s.copy"):format(self.folder, self.folder, name))
    assert(status == 0, "no copy was made")
end

-- Ends it hard where it still runs, and starts it at the same address: empty, or with an old copy.
function methods:restart(options)
    self:kill()
    os.remove(self.folder .. "/dump.rdb")
    if options and options.copy then
        local _, status = shell.run(("cp %s/%s.copy %s/dump.rdb"):format(self.folder, options.copy, self.folder))
        assert(status == 0, "there is no such copy")
    end
    spawn(self)
end

function methods:close()
    self:stop()
    folder.remove(self.folder)
end

-- Waits until fn() is true, looking every ms; raises after 5 s or ms.
function redis.wait_until(fn, ms, what)
    local until_ms = posix.now() + (ms or redis.deadline_ms)
    while not fn() do
        assert(posix.now() < until_ms, (what or "what is waited for") .. " did not come")
        posix.sleep(1)
    end
end

-- options: port = true; config: settings of redis.conf, such as { maxmemory = "2mb", requirepass = "x" } (with a
-- password the server's own commands need server:call("AUTH", "x") first).
function redis.start(options)
    local self = setmetatable({ options = options or {} }, meta)
    self.folder = folder.new()
    self.path = self.folder .. "/redis.sock"
    self.log = self.folder .. "/log"
    self.port = self.options.port and posix.free_port() or nil
    self.url = "redis+unix://" .. self.path
    self.tcp_url = self.port and "redis://127.0.0.1:" .. self.port
    spawn(self)
    return self
end

return redis
