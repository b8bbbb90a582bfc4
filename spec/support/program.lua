-- program.lua - builds a program of the test bed that is written in C, once a change, and tells its path.
local shell = require "spec.support.shell"

local built = {}

-- program("proxy", "core/base/buf.c ..."): spec/support/proxy.c and the sources named, in build/probe/proxy.
return function(name, sources)
    if built[name] then
        return built[name]
    end
    local source, target = ("spec/support/%s.c"):format(name), "build/probe/" .. name
    sources = source .. " " .. (sources or "")
    local _, is_older = shell.run(("test -f %s && test -z \"$(find %s spec/support/*.h -newer %s)\"")
        :format(target, sources, target))
    if is_older ~= 0 then
        local compile = "mkdir -p build/probe && ${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -O1 -g "
            .. "-Icore -Icore/include -Ispec/core -o %s.$$ %s && mv %s.$$ %s"
        local words, status = shell.run(compile:format(target, sources, target, target))
        assert(status == 0, "cannot build " .. target .. ":\n" .. words)
    end
    built[name] = target
    return target
end
