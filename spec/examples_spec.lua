-- examples_spec.lua - every example runs and prints what its comments say.

package.path = "./?.lua;" .. package.path
local shell = require "spec.support.shell"

-- What an example prints, word for word; runs of blanks count as one, and whole floats as integers.
local wanted = {
    hello = [[
        computing the square of 12
        144 nil loaded
        144 nil l1
        hello, world nil l1
        nil nil miss
        nil loader]],
    decorator = [[
        north 2050 2
        north 2050 2
        south 990 1
        the function ran 2 times for 3 calls
        north 2100 3
        south 990 1
        the function ran 3 times for 5 calls]],
    cache_aside = [[
        Ada l1
        page 1 (loaded): three, two
        page 2 (loaded): one
        page 1 (l1): three, two
        page 1 (loaded): four, three
        page 2 (loaded): two, one]],
    read_through = [[
        product:42 loaded tea
        product:42 l1 tea
        product:99 absent -
        2 loads
        tea coffee milk
        product:42 l1 green tea]],
    write_through = [[
        cache: tea x 9 l1
        table: tea x 9
        nil conflict
        nil rejected
        table: tea x 3
        table: gone]],
}

local function words(text)
    return (text:gsub("(%d)%.0%f[^%d]", "%1"):gsub("[ \t]+", " "):gsub("\n ", "\n"):gsub("^ ", ""):gsub("%s+$", ""))
end

-- Runs an example with a folder of its own for temporary files, which must be empty afterwards.
local function run(name, before)
    local folder = shell.run("mktemp -d"):match "[^\n]+"
    local here = ("os.tmpname = function() return %q end"):format(folder .. "/file")
    local out, status = shell.run(("%s%s -e %s examples/%s.lua"):format(before or "", shell.lua, shell.quote(here),
        name))
    assert.equal(0, status, out)
    local left, kept = shell.run("rmdir " .. folder)
    assert.equal(0, kept, left)
    return out
end

describe("the example", function()
    for name, text in pairs(wanted) do
        it(name .. ".lua", function()
            assert.equal(words(text), words(run(name)))
        end)
    end

    it("statistics.lua", function()
        local out = run "statistics"
        local hits, misses = out:match "hits (%d+), misses (%d+), hit rate %d+ %%"
        local loads, told = out:match "loads (%d+), told of (%d+)"
        assert.equal(10000, hits + misses)
        assert.equal(misses, loads)
        assert.equal(loads, told)
        assert.truthy(out:find "entries 100, evictions %d+, bytes %d+")
        assert.truthy(out:find "a load: p50 %d+ us, p99 %d+ us")
    end)

    -- With a server of its own, whatever the environment says.
    local function run_shared(name)
        if select(2, shell.run "command -v redis-server") ~= 0 then
            return nil
        end
        return (words(run(name, "env -u LARDER_REDIS ")):gsub("%f[%d]%d+[:.][%d:.]+ ", "T "))
    end

    it("two_tiers/main.lua", function()
        local out = run_shared "two_tiers/main"
        if not out then
            return pending "there is no redis-server"
        end
        -- The change table may tell of a change once more, and of the last one to either process first.
        out = out:gsub("(T reader hears that it changed product:42 remote\n)%1+", "%1")
        out = out:gsub("remote\nT reader reads loaded 4\nT writer reads l2 4", "remote\nboth read 4")
        out = out:gsub("remote\nT reader reads l2 4\nT writer reads l[12] 4", "remote\nboth read 4")
        assert.equal(words [[
            T writer reads loaded 3.5
            T reader reads l2 3.5
            T reader reads l1 3.5
            T writer wrote 3.75
            T reader hears that it changed product:42 remote
            T reader reads l2 3.75
            T writer wrote past the cache 4
            T reader hears that it changed product:42 remote
            both read 4]], out)
    end)

    it("lease/main.lua", function()
        local out = run_shared "lease/main"
        if not out then
            return pending "there is no redis-server"
        end
        assert.equal(words [[
            Two ask for the same report:
            T A asks
            T A computes
            T B asks
            T A has it (loaded): the report, computed by A
            T B has it (l2): the report, computed by A
            The holder of the lease is killed:
            T C asks
            T C computes
            C is killed
            T D asks
            T D computes
            T D has it (loaded): the report, computed by D]], out)
    end)

    it("use_from_c.c", function()
        local program, remove = shell.temporary ".bin"
        if select(2, shell.run "test -f build/liblarder.a") ~= 0 then
            return pending "build/liblarder.a is not built"
        end
        local libs = "$(pkg-config --libs $(sed -n 's/^Requires.private: //p' build/larder.pc)) -pthread -lm"
        local out, status = shell.run("${CC:-cc} -std=c11 -Wall -Wextra -Werror -Icore/include examples/use_from_c.c "
            .. "build/liblarder.a " .. libs .. " -o " .. program)
        assert.equal(0, status, out)
        out, status = shell.run(program)
        remove()
        assert.equal(0, status, out)
        assert.equal(words [[
            tea: the value of tea (loaded)
            tea: the value of tea (l1)
            nothing: (absent)
            tea: by hand (l1)
            tea: the value of tea (loaded)
            2 hits, 3 misses, 3 loads]], words(out))
    end)
end)
