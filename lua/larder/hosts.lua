-- hosts.lua - which host waits for this Lua state: nginx inside a worker, else the blocking one. One of each a state.

local core = require "larder.core"
local errors = require "larder.errors"

local hosts = {}

local found = {}

local makers = {}

function makers.blocking()
    local blocking = require "larder.host.blocking"
    local loop = core.loop()
    local sched = blocking.new {
        now = core.now,
        wait = function(seconds)
            return loop:wait(seconds)
        end,
    }
    sched.loop = loop
    return sched
end

function makers.nginx()
    return require("larder.host.nginx").new(core)
end

local function in_nginx()
    local ngx = rawget(_G, "ngx")
    return type(ngx) == "table" and ngx.worker ~= nil and ngx.config ~= nil and ngx.get_phase ~= nil
end

-- The host of that name ("blocking", "nginx"), or the one that fits.
function hosts.find(name)
    if name == "nginx" and not in_nginx() then
        errors.misuse(1, 'larder.open: host = "nginx" is for workers of nginx (lua-nginx-module), and this is none')
    end
    name = name or (in_nginx() and "nginx" or "blocking")
    found[name] = found[name] or makers[name]()
    return found[name]
end

return hosts
