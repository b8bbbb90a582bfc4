-- crew.lua - processes of a spec, each a program that does one thing after another as it is told. worker.lua is what
-- runs in them. They end with the process that hired them.
--
--   local one = crew.hire("spec.support.rush", { lua = "luajit", args = { url } })
--   one:tell "return rush(%q, %d)", ...     one:hear(ms)     one:ask("return ...")     one:kill()     one:close()
local bed = require "spec.support.bed"
local posix = require "spec.support.posix"

local crew = { luas = { "lua5.4", "luajit" }, deadline_ms = 20000 }
local methods = {}
local meta = { __index = methods }

local function log_text(self)
    local file = io.open(self.log)
    local text = file and file:read "*a" or ""
    if file then
        file:close()
    end
    return text
end

-- program: a module that gives a function of the args (strings), which gives a table of what may be told.
-- options: lua; args; log, a file.
function crew.hire(program, options)
    local self = setmetatable({ lua = options.lua or crew.luas[1], text = "" }, meta)
    self.log = options.log or os.tmpname()
    local words = { self.lua }
    if self.lua == "luajit" and bed.is_watched then
        words[2] = "-joff"
    end
    words[#words + 1] = "spec/support/worker.lua"
    words[#words + 1] = program
    for _, arg in ipairs(options.args or {}) do
        words[#words + 1] = tostring(arg)
    end
    self.pid, self.fd = posix.spawn(words, self.log, true)
    return self
end

-- A line of Lua, with what string.format puts in.
function methods:tell(line, ...)
    local code = select("#", ...) > 0 and line:format(...) or line
    assert(not code:find "\n", "one line")
    return posix.send(self.fd, code .. "\n")
end

-- What it answered to the next line that it was told: a string, a number, a boolean or nil. Raises where that fails, or
-- takes longer.
function methods:hear(ms)
    local until_ms = posix.now() + (ms or crew.deadline_ms)
    while not self.text:find("\n", 1, true) do
        local more, why = posix.recv(self.fd, math.max(0, until_ms - posix.now()))
        if not more or more == "" then
            error(("%s of %s said nothing: %s\n%s"):format(self.pid, self.lua, why or "it ended", log_text(self)), 2)
        end
        self.text = self.text .. more
    end
    local kind, line, rest = self.text:match "^(%l+) ([^\n]*)\n(.*)$"
    self.text = rest
    local value = assert((loadstring or load)("return " .. line))()
    if kind ~= "ok" then
        error(("%s of %s: %s"):format(self.pid, self.lua, value), 2)
    end
    return value
end

function methods:ask(line, ...)
    self:tell(line, ...)
    return self:hear()
end

local function gone(self)
    posix.close(self.fd)
    os.remove(self.log)
    self.pid = nil
end

-- kill -9.
function methods:kill()
    if self.pid then
        posix.kill(self.pid, "KILL")
        posix.reap(self.pid, crew.deadline_ms)
        gone(self)
    end
end

-- Lets it end; gives its exit status.
function methods:close()
    if not self.pid then
        return
    end
    posix.kill(self.pid, "CONT")
    self:tell "exit"
    local status = posix.reap(self.pid, crew.deadline_ms)
    if not status then
        self:kill()
        error "a worker did not end"
    end
    gone(self)
    return status
end

return crew
