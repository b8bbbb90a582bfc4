-- place.lua - where the demo's shared shelf is: the server of a URL, or an own redis-server in a temporary folder, on a
-- unix socket, which ends with the demo however that ends: its keeper waits for the end of a pipe.

local larder = require "larder"

local place = {}

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end
place.quote = quote

-- What --redis was given: the URL, or that of LARDER_REDIS; nil: an own server is wanted.
function place.named(option)
    local given = type(option) == "table" and option[1] or option
    if type(given) ~= "string" or given == "" then
        given = os.getenv "LARDER_REDIS"
    end
    return given ~= "" and given or nil
end

-- The URL as it may be shown.
function place.shown(url)
    return (url:gsub("://[^/]*@", "://", 1))
end

function place.has_password(url)
    return url:find "://[^/]*:[^/]*@" ~= nil
end

-- Ended hard: there is nothing to save, and a server that was stopped would not hear of anything softer.
local KEEPER = [[
cd %s || exit 1
trap '' INT
redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no >redis.log 2>&1 &
until [ -S redis.sock ] || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
echo >redis.up
cat >/dev/null
exec 2>/dev/null
kill -9 $!
wait $!
rm -f redis.log redis.up redis.sock]]

local function succeeds(command)
    local status = os.execute(command)
    return status == true or status == 0
end

-- An own server: its URL and a function that ends it; or nil, why and the exit status.
function place.start(folder)
    if not succeeds "command -v redis-server >/dev/null" then
        return nil, "--redis needs redis-server (Debian: apt-get install redis-server), or a server that runs: "
            .. "--redis URL, or LARDER_REDIS", 2
    end
    local path = folder .. "/redis.sock"
    if #path > 107 then
        return nil, "the temporary folder's name is too long for a unix socket: " .. folder, 1
    end
    local keeper = io.popen(KEEPER:format(quote(folder)), "w")
    os.execute(("until [ -e %s/redis.up ]; do sleep 0.01; done"):format(quote(folder)))
    return "redis+unix://" .. path, function()
        keeper:close()
    end
end

-- Is a Redis there that takes what it is told? true; or nil, why and the exit status.
function place.check(url)
    local fine, cache, err = pcall(larder.open, { name = "larder-demo", l2 = url, l1 = false, bus = false })
    if not fine then
        return nil, (tostring(cache):gsub("^.*larder%.open: ", "")), 2
    elseif not cache then
        return nil, tostring(err), 1
    end
    local kept, why = cache:set("here", true, { ttl = 0.001 })
    cache:close()
    if not kept then
        return nil, "no use of Redis: " .. tostring(why), 1
    end
    return true
end

return place
