-- posix.lua - builds posix.c for the Lua that runs this, once a change, and loads it; processes that a spec starts load
-- it by the same line. Specs run in a checkout, so the compiler is there.
local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
local folder = "build/probe/" .. lua
local target = folder .. "/posix.so"

local function run(command)
    local status = os.execute(command)
    return status == true or status == 0
end

if not run(("test %s -nt spec/support/posix.c"):format(target)) then
    local build = "mkdir -p %s && ${CC:-cc} -std=gnu11 -O1 -fPIC -pthread $(pkg-config --cflags %s) -shared "
        .. "-o %s.$$ spec/support/posix.c && mv %s.$$ %s"
    assert(run(build:format(folder, lua, target, target, target)), "cannot build " .. target)
end
package.cpath = folder .. "/?.so;" .. package.cpath
return require "posix"
