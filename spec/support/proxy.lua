-- proxy.lua - the proxy of the test bed (proxy.c has its commands) between a cache and a Redis server.
--
--   local p = proxy.start { to = server, port = true }      to: a server of redis.lua, a path or a port
--   cache: l2 = p.url      p "cut 5"      p:count().fired == 1      p:wait("connections", 2)      p:stop()
local folder = require "spec.support.folder"
local posix = require "spec.support.posix"
local program = require "spec.support.program"

local proxy = {}
local methods = {}
local meta = { __index = methods }

-- A line of the proxy, within 5 s.
local function line_of(self)
    local until_ms = posix.now() + 5000
    while true do
        local line, rest = self.text:match "^([^\n]*)\n(.*)$"
        if line then
            self.text = rest
            return line
        end
        local more, why = posix.recv(self.fd, math.max(0, until_ms - posix.now()))
        assert(more and more ~= "", "the proxy does not answer: " .. (why or "it has ended"))
        self.text = self.text .. more
    end
end

-- Orders a fault, or whatever proxy.c knows; it is in force when this returns.
function methods:command(text)
    assert(posix.send(self.fd, text .. "\n"))
    local answer = line_of(self)
    if answer:sub(1, 2) ~= "ok" then
        error(("proxy, %q: %s"):format(text, answer), 0)
    end
    return answer
end

meta.__call = methods.command

-- connections, open, up, down (bytes), messages, fired
function methods:count()
    local counts = {}
    for name, value in self:command("count"):gmatch "(%w+)=(%d+)" do
        counts[name] = tonumber(value)
    end
    return counts
end

-- Waits until a count is at least n (5 s unless ms are given); gives all counts.
function methods:wait(name, n, ms)
    local until_ms = posix.now() + (ms or 5000)
    while true do
        local counts = self:count()
        if counts[name] >= n then
            return counts
        end
        assert(posix.now() < until_ms, ("%s is %d, not %d"):format(name, counts[name], n))
        posix.sleep(1)
    end
end

function methods:stop()
    if self.pid then
        posix.close(self.fd)
        if not posix.reap(self.pid, 2000) then
            posix.kill(self.pid, "KILL")
            posix.reap(self.pid, 2000)
        end
        folder.remove(self.folder)
        self.pid = nil
    end
end

-- options: to (needed); port = true: a port of 127.0.0.1 in place of a unix socket; seed.
function proxy.start(options)
    local to = options.to
    local self = setmetatable({ text = "" }, meta)
    self.folder = folder.new()
    self.path = not options.port and self.folder .. "/proxy.sock" or nil
    self.port = options.port and posix.free_port() or nil
    self.url = self.path and "redis+unix://" .. self.path or "redis://127.0.0.1:" .. self.port
    local words = {
        program("proxy", "spec/support/proxy_conn.c"), tostring(self.path or self.port),
        tostring(type(to) == "table" and to.path or to),
    }
    if options.seed then
        words = { "env", "LARDER_SEED=" .. options.seed, words[1], words[2], words[3] }
    end
    self.log = self.folder .. "/log"
    self.pid, self.fd = posix.spawn(words, self.log, true)
    self.seed = assert(line_of(self):match "seed=(%d+)", "the proxy did not start")
    return self
end

return proxy
