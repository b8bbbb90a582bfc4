-- R9: two writers; the source has version 1, then 2; the tiers hear of 2, then of 1. R29: a load that took longer
-- than anybody waits for it comes back after a newer one. Here: the higher version stays, and an old lease fills
-- nothing.

local larder = require "larder"
local race = require "spec.support.race"

describe("R9, two writers through the source (seeds from " .. race.seed .. "):", function()
    -- A source whose store answers late; with versions or without.
    local function slow_store(host, rows, versions)
        local version = 0
        return larder.source.functions {
            timeout = 1000,
            load = function(key)
                host.pause()
                local row = rows[key]
                host.pause()
                if row then
                    return row.value, nil, { version = row.version }
                end
            end,
            store = function(key, value)
                host.pause()
                version = version + 1
                rows[key] = { value = value, version = versions and version or nil }
                local mine = version
                host.pause()
                return versions and mine or true
            end,
        }
    end

    for what, versions in pairs { ["with versions"] = true, ["without versions"] = false } do
        it(what .. ", in drawn schedules", function()
            race.all(function(host)
                local rows = {}
                local c = larder.open { host = host, source = slow_store(host, rows, versions) }
                race.tasks(host, { 3, function(i)
                    for n = 1, 3 do
                        host.pause()
                        assert(c:set("k", i * 10 + n))
                    end
                end }, { 2, function()
                    for _ = 1, 3 do
                        host.pause()
                        c:get("k", { timeout = 1000, wait = 1000 })
                    end
                end })
                local value = c:get("k", { timeout = 1000 })
                assert(value == rows.k.value, ("%s is held, not %s"):format(tostring(value), tostring(rows.k.value)))
                c:close()
            end)
        end)
    end
end)

describe("R29, a load that outlived its lease", function()
    it("fills nothing over a newer one", function()
        local host = race.host(1)
        local c = larder.open { host = host, ttl = 10000 }
        local truth = "old"
        local function get(seconds)
            return c:get("k", { timeout = 1000, wait = 1000 }, function()
                local value = truth
                host:sleep(seconds)
                return value
            end)
        end
        host:run(function()
            assert.equal("old", get(200))
        end, function()
            host:sleep(100)
            truth = "new"
            assert.equal("new", get(1))
        end)
        assert.equal("new", (c:get "k"))
        assert.equal(1, c:stats().refused)
        c:close()
    end)
end)
