-- probe.lua - builds memo_probe.c for the Lua that runs this, once a change, and loads it. Specs run in a checkout, so
-- the compiler is there.
local is_jit = rawget(_G, "jit") ~= nil
local folder = "build/probe/" .. (is_jit and "luajit" or "lua5.4")
local target = folder .. "/memo_probe.so"
local package_name = is_jit and "luajit" or "lua5.4"
local sources = "spec/support/memo_probe.c lua/bind/memo*.c lua/bind/value_[a-l]*.c lua/bind/value_n*.c core/base/*.c "
    .. "core/record/pack.c"

local function run(command)
    local status = os.execute(command)
    return status == true or status == 0
end

local function build()
    local flags = "-std=c11 -D_GNU_SOURCE -O2 -g -fPIC -fvisibility=hidden -pthread -Icore -Icore/include -Ilua"
    local compile = ("${CC:-cc} %s $(pkg-config --cflags %s) -shared -o %s.$$ %s -lxxhash -lm"):format(flags,
        package_name, target, sources)
    assert(run(("mkdir -p %s && %s && mv %s.$$ %s"):format(folder, compile, target, target)), "cannot build " .. target)
end

local newer = ("test -f %s && test -z \"$(find %s lua/bind core/base core/l1/shelf.h -newer %s -name '*.[ch]')\"")
    :format(target, "spec/support/memo_probe.c", target)
if not run(newer) then
    build()
end
package.cpath = folder .. "/?.so;" .. package.cpath
return require "memo_probe"
