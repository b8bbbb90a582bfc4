-- shell.lua - runs commands for specs: what they print, and how they end.
local shell = {}

-- The Lua that runs this spec, for programs that a spec starts.
shell.lua = os.getenv "LARDER_LUA" or rawget(_G, "jit") and "luajit" or "lua5.4"

function shell.quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a command line: what it printed (on both streams), and its exit status.
function shell.run(command)
    local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null; echo \"status $?\""))
    local text = pipe:read "*a"
    pipe:close()
    local out, status = text:match "^(.*)status (%d+)\n$"
    return out, tonumber(status)
end

-- A temporary file's name that is free; `remove` takes away what was made under it.
function shell.temporary(ending)
    local name = os.tmpname()
    os.remove(name)
    name = name .. (ending or "")
    return name, function()
        for _, tail in ipairs { "", "-wal", "-shm", "-journal" } do
            os.remove(name .. tail)
        end
    end
end

return shell
