-- redis.lua - what the examples with several processes share: a Redis server, a folder, and programs of their own.
--
-- The server is that of LARDER_REDIS (a URL). Without it an own one is started, in the temporary folder, on a unix
-- socket; it is stopped by its pid when this program ends, however it ends: then the pipe to its keeper is closed.
local redis = {}

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- A temporary folder, and a function that removes it.
function redis.folder()
    local name = os.tmpname()
    os.remove(name)
    assert(os.execute("mkdir -m 700 " .. quote(name)))
    return name, function()
        os.execute("rm -rf " .. quote(name))
    end
end

local KEEPER = [[
    cd %s || exit 1
    redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no >redis.log 2>&1 &
    until [ -S redis.sock ]; do kill -0 $! 2>/dev/null || break; sleep 0.01; done
    echo started >ready; cat >/dev/null; exec 2>/dev/null; kill -9 $!; wait $!]]

function redis.url(folder)
    return os.getenv "LARDER_REDIS" or "redis+unix://" .. folder .. "/redis.sock"
end

-- Starts the server where none is given; a function that stops it.
function redis.start(folder)
    if os.getenv "LARDER_REDIS" then
        return function() end
    end
    local there = os.execute "command -v redis-server >/dev/null"
    assert(there == true or there == 0, "no redis-server (Debian: redis-server); or set LARDER_REDIS to a URL")
    local keeper = io.popen(KEEPER:format(quote(folder)), "w")
    os.execute(("until [ -e %s/ready ]; do sleep 0.01; done"):format(quote(folder)))
    return function()
        keeper:close()
    end
end

-- Starts the program beside the one that runs, with the same Lua: a pipe of what it prints, and its process id.
function redis.program(name, ...)
    local first = 0
    while arg[first - 1] do
        first = first - 1
    end
    local words = { quote(arg[first]), quote((arg[0]:gsub("[^/]+$", name))) }
    for i = 1, select("#", ...) do
        words[#words + 1] = quote((select(i, ...)))
    end
    local pipe = io.popen("echo $$; exec " .. table.concat(words, " "))
    return pipe, pipe:read "*l"
end

return redis
