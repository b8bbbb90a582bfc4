-- cli_spec.lua - the command: its exit statuses, what is not built, migrate, and the demo's parts and whole.

package.path = "./?.lua;" .. package.path
local json = require "larder.cli.json"
local replay = require "larder.cli.replay"
local screen = require "larder.cli.screen"
local shell = require "spec.support.shell"
local shop = require "larder.cli.shop"
local source = require "larder.source"
local sqlite = require "larder.sqlite"
local trace = require "larder.cli.trace"
local truth = require "larder.cli.truth"
local unbuilt = require "larder.unbuilt"

local function larder(line)
    return shell.run("LARDER_LUA=" .. shell.lua .. " lua/bin/larder " .. line)
end

local function write_file(name, text)
    local file = assert(io.open(name, "wb"))
    file:write(text)
    file:close()
end

describe("larder", function()
    it("helps", function()
        for _, line in ipairs { "--help", "demo --help", "migrate --help", "bench --help" } do
            local out, status = larder(line)
            assert.equal(0, status, out)
            assert.truthy(out:find("Usage: larder", 1, true))
        end
        assert.truthy(larder("--version"):find "^larder %d")
    end)

    it("ends with 2 at misuse", function()
        for _, line in ipairs { "", "nope", "demo --nope", "demo --seed x", "demo --seed 1.5",
            "demo --slack -1", "demo --trace /nope",
            "demo --redis", "demo --postgres x", "migrate", "migrate --apply --undo", "migrate --dsn sqlite:x",
            "migrate --dsn mysql://x --table t", "migrate --dsn postgresql://x --table t",
            "migrate --config a --dsn sqlite:b --table c" } do
            local out, status = larder(line)
            assert.equal(2, status, line .. ": " .. out)
            assert.truthy(#out > 0)
        end
    end)

    it("says what is not built", function()
        for _, name in ipairs((unbuilt.names "command")) do
            local out, status = larder(name .. " --config x")
            assert.equal(2, status)
            assert.equal(unbuilt.sentence("command", name) .. "\n", out)
        end
    end)
end)

describe("larder migrate", function()
    local file, remove, config, remove_config

    before_each(function()
        file, remove = shell.temporary ".db"
        config, remove_config = shell.temporary ".lua"
        local db = assert(sqlite.open(file, { create = true }))
        assert(db:exec "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)")
        db:close()
    end)

    after_each(function()
        remove()
        remove_config()
    end)

    it("prints, applies and undoes by --dsn", function()
        local by = ("migrate --dsn sqlite:%s --table products --key id"):format(file)
        local printed, status = larder(by)
        assert.equal(0, status, printed)
        assert.truthy(printed:find "^BEGIN IMMEDIATE;.*COMMIT;\n$")
        local applied = larder(by .. " --apply")
        assert.equal(printed .. "-- applied: products in " .. file .. "\n", applied)
        assert.equal("-- nothing to do\n", (larder(by .. " --apply")))
        local changes = larder(by .. " --apply --changes --json")
        assert.truthy(changes:find('"mode":"apply"', 1, true))
        assert.truthy(changes:find("ldr_changes", 1, true))
        assert.truthy(larder(by .. " --undo"):find "undone: products")
    end)

    it("reads a config file", function()
        local text = [[local larder = require "larder"
            return { source = larder.source.sqlite { file = %q, models = {
                product = { table = "products", version = "edition" }, other = { table = "nothing" } } } }]]
        write_file(config, text:format(file))
        local by = "migrate --config " .. config
        local out, status = larder(by)
        assert.equal(2, status)
        assert.truthy(out:find("name one of its models with --model: other, product", 1, true))
        assert.equal(2, select(2, larder(by .. " --model none")))
        assert.equal(1, select(2, larder(by .. " --model other")))
        out, status = larder(by .. " --model product --apply")
        assert.equal(0, status, out)
        assert.truthy(out:find('ADD COLUMN "edition"', 1, true))
    end)

    it("refuses a bad config file with file and line", function()
        for text, wanted in pairs { ["return {"] = ":1: ", ["\nerror 'why'"] = ":2: why",
            ["return 7"] = "must return the table", ["return {}"] = "must be a larder.source.sqlite",
            ["\nreturn nothing.x"] = ":2: ", [string.dump(function() end)] = "" } do
            write_file(config, text)
            local out, status = larder("migrate --config " .. config)
            assert.equal(2, status)
            assert.truthy(out:find(wanted, 1, true), out)
        end
    end)
end)

describe("json", function()
    it("writes what it is given", function()
        assert.equal('{"a":[1,2.5,true],"b":{},"c":"x\\"\\n\\u0001","d":1e+20}',
            json.encode { a = { 1, 2.5, true }, b = {}, c = 'x"\n\1', d = 1e20 })
    end)
end)

describe("a trace", function()
    local file, remove

    after_each(function()
        remove()
    end)

    it("is read plain and gzipped, with and without sizes", function()
        file, remove = shell.temporary ".txt"
        write_file(file, "a\nb 12\na \n")
        local read = assert(trace.read(file))
        assert.same({ 1, 2, 1 }, read.requests)
        assert.equal(2, read.distinct)
        shell.run("gzip " .. file)
        assert.same({ 1, 2, 1 }, trace.read(file .. ".gz").requests)
        os.remove(file .. ".gz")
    end)

    it("that is none is refused", function()
        file, remove = shell.temporary ".gz"
        for text, wanted in pairs { ["a\nb c\n"] = ":2: not `key`", [""] = ": no request", ["a\n\nb\n"] = ":2: not" } do
            write_file(file .. ".txt", text)
            local read, why = trace.read(file .. ".txt")
            os.remove(file .. ".txt")
            assert.is_nil(read)
            assert.truthy(why:find(wanted, 1, true), why)
        end
        write_file(file, "not gzip")
        assert.truthy(select(2, trace.read(file)):find("gzip could not read it", 1, true))
    end)
end)

describe("the demo's truth", function()
    local silent = { at = function() end }
    local file, remove, store, known

    before_each(function()
        file, remove = shell.temporary ".db"
        store = shop.new(file, 50, 7, silent)
        known = truth.new(store, 0.5)
    end)

    after_each(function()
        store:close()
        remove()
    end)

    it("knows each row of the shop", function()
        for id = 1, 50 do
            assert.is_nil((known:check(id, store:load(id), 0)))
        end
        assert.truthy(known:check(1, store:load(2), 0):find "another product")
        local row = store:load(1)
        row.price_cents = row.price_cents + 1
        assert.truthy(known:check(1, row, 0):find "a price that is not of its edition 1")
        assert.truthy(known:check(1, "text", 0))
    end)

    it("knows how long an edition may be read after it ended", function()
        local before = store:load(9)
        assert(store:update("other", 9, 2))
        known:committed(9, 100, false)
        assert.is_nil((known:check(9, store:load(9), 1000)))
        local wrong, age = known:check(9, before, 100.25)
        assert.is_nil(wrong)
        assert.equal(0.25, age)
        assert.truthy(known:check(9, before, 100.75):find "edition 1 ended 0.750 s before")
    end)

    it("lets nothing pass that is older than what was written through the cache", function()
        local before = store:load(9)
        assert(store:update("own", 9, 2))
        known:committed(9, 100, true)
        assert.truthy(known:check(9, before, 100):find "edition 1 after edition 2 was written")
    end)

    it("finds what a cache that hears of nothing gives", function()
        local cache = assert(require("larder").open { changes = false, source = source.sqlite { file = file,
            models = { product = { table = "products", version = "version" } } } })
        local run = { cache = cache, truth = truth.new(store, 0), seed = 1, progress = silent, requests = {}, ids = {},
            keys = {} }
        function run.get(c, key)
            return c:get(key)
        end
        for i = 1, 1000 do
            run.requests[i] = i % 50 + 1
        end
        for id = 1, 50 do
            run.ids[id], run.keys[id] = id, "product:" .. id
        end
        function run.write(id, edition)
            return cache:set("product:" .. id, store:columns(id, edition))
        end
        function run.foreign(id, edition)
            return store:update("other", id, edition)
        end
        local result = replay.run(run)
        cache:close()
        assert.is_true(result.own_writes > 0 and result.foreign_writes > 0)
        assert.is_true(result.violations > 0)
        assert.truthy(result.first_violation:find "ended .* s before the read began")
        assert.equal(1000, result.hits + result.misses)
    end)

    it("knows what was never committed", function()
        assert(store:update("own", 9, 2))
        assert.truthy(known:check(9, store:load(9), 0):find "never committed")
    end)
end)

describe("larder demo", function()
    it("fits a screen", function()
        local run = { pattern = "write_through", hit_rate = 0.5, queries = 123456789, saved = 0.5, p50_seconds = 1e-4,
            p99_seconds = 1e-3, oldest_seconds = 1, violations = 3, over_time = {}, own_writes = 1, foreign_writes = 1,
        }
        for i = 1, 60 do
            run.over_time[i] = i / 60
        end
        local report = { requests = 1e6, distinct = 1e5, products = 1e6, trace = "trace.txt",
            runs = { run, run, run, run, run }, seed = 1, entries = 5000, lua = "LuaJIT 2.1.0-beta3", checked = 5e6,
            violations = 15, first_violation = ("x"):rep(200), bound_seconds = 0.5, interval_seconds = 0.1,
            slack_seconds = 0.4 }
        local lines = screen.lines(report, { colour = false, blocks = false })
        assert.is_true(#lines <= 24)
        for _, line in ipairs(lines) do
            assert.is_true(#line <= 80, line)
        end
    end)

    it("replays, checks, and says it all in one JSON object", function()
        local folder = shell.run("mktemp -d"):match "[^\n]+"
        local out, status = shell.run("TMPDIR=" .. folder .. " LARDER_LUA=" .. shell.lua
            .. " lua/bin/larder demo --quick --json --seed 3 --slack 10")
        assert.equal(0, status, out)
        assert.equal(1, select(2, out:gsub("\n", "")))
        assert.truthy(out:find "^{.*}\n$")
        assert.truthy(out:find('"checked":50000', 1, true))
        local _, n = out:gsub('"violations":0', "")
        assert.equal(6, n)
        local left, empty = shell.run("rmdir " .. folder)
        assert.equal(0, empty, left)
    end)

    it("prints plain lines where there is no terminal", function()
        local file, remove = shell.temporary ".txt"
        write_file(file, ("a\nb\nc\n"):rep(100))
        local out, status = larder("demo --quick --slack 10 --trace " .. file)
        remove()
        assert.equal(0, status, out)
        assert.is_nil(out:find "[\r\27]")
        assert.truthy(out:find "write_through: 300 reads, %d+ queries, 0 wrong")
        assert.truthy(out:find "wrong: 0\n$")
    end)
end)
