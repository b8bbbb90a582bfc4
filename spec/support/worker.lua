-- worker.lua - a process of a crew (crew.lua): LUA spec/support/worker.lua MODULE ARGS... Each line on the standard
-- input is Lua that sees what the module gave; its result goes out as "ok LITERAL", what it raises as "raised LITERAL".
package.path = "./?.lua;" .. package.path
local program = require(arg[1])
local unpack = table.unpack or unpack -- luacheck: ignore 143
local told = setmetatable(program(unpack(arg, 2)), { __index = _G })

local function compiled(line)
    if setfenv then -- luacheck: ignore 113
        return setfenv(assert(loadstring(line)), told) -- luacheck: ignore 113
    end
    return assert(load(line, "told", "t", told))
end

local function literal(value)
    return type(value) == "string" and ("%q"):format(value):gsub("\\\n", "\\n") or tostring(value)
end

io.stdout:setvbuf "line"
for line in io.lines() do
    if line == "exit" then
        break
    end
    local fine, value = xpcall(function() return compiled(line)() end, debug.traceback)
    io.write(fine and "ok " or "raised ", literal(value), "\n")
end
if told.close then
    told.close()
end
