-- readme_spec.lua - the README and the reference say what is so: what can be pasted runs, what is quoted is the file,
-- and the names that are not built, the options and the codes are all there.

package.path = "./?.lua;" .. package.path
local options = require "larder.options"
local shell = require "spec.support.shell"
local source = require "larder.source"
local unbuilt = require "larder.unbuilt"

local function read(name)
    local file = assert(io.open(name, "rb"))
    local text = file:read "*a"
    file:close()
    return text
end

local function section(text, title)
    local from = assert(text:find("\n## " .. title, 1, true), "no section " .. title)
    local to = text:find("\n## ", from + 1, true)
    return text:sub(from, to)
end

local function blocks(text, language)
    local list = {}
    for block in text:gmatch("\n```" .. language .. "\n(.-\n)```") do
        list[#list + 1] = block
    end
    return list
end

describe("README.md", function()
    local text = read "README.md"

    it("lists all that is not built", function()
        local list = section(text, "Not built yet")
        for _, row in ipairs(unbuilt.all()) do
            assert.truthy(list:find("`" .. row.name .. "`", 1, true), row.kind .. " " .. row.name)
        end
    end)

    it("lists nothing else there", function()
        local known = {}
        for _, row in ipairs(unbuilt.all()) do
            known[row.name] = true
        end
        for line in section(text, "Not built yet"):gmatch "\n|[^|]*|([^\n]*)" do
            for name in line:gmatch "`([%w_.%-]+)`" do
                assert.truthy(known[name], name)
            end
        end
    end)

    it("quotes examples as they are", function()
        local n = 0
        for _, block in ipairs(blocks(text, "lua")) do
            local name = block:match "^%-%- ([%w_]+%.lua) %- "
            if name then
                n = n + 1
                assert.equal(read("examples/" .. name), block)
            end
        end
        assert.truthy(n > 0)
    end)

    it("can be pasted: the first cached query", function()
        if shell.lua ~= "lua5.4" then
            return
        end
        local script = {}
        for _, block in ipairs(blocks(section(text, "The first cached query"), "sh")) do
            script[#script + 1] = block
        end
        assert.equal(3, #script)
        script = table.concat(script)
        local file, remove = shell.temporary ".sh"
        local out = assert(io.open(file, "w"))
        out:write("set -eu\n", script, "rm -r \"$PWD\"\n")
        out:close()
        local printed, status = shell.run("sh " .. file)
        remove()
        assert.equal(0, status, printed)
        assert.equal("tea 3.5 loaded\ntea 3.5 l1\n3.75\nnil nil absent\n2 2\n", (printed:gsub("\t", " ")))
    end)

    it("links to files that are there", function()
        for name in text:gmatch "%]%(([^)#:]+)%)" do
            assert.equal(0, select(2, shell.run("test -e " .. shell.quote(name))), name)
        end
    end)

    it("has every code", function()
        local codes = "timeout unavailable source loader corrupt unsupported too_large conflict closed busy rejected "
            .. "lost invalid"
        for code in codes:gmatch "%S+" do
            assert.truthy(section(text, "Errors"):find("\n| `" .. code .. "` |", 1, true), code)
        end
    end)
end)

describe("docs/reference.md", function()
    local text = read "docs/reference.md"

    local function names(schema, list)
        for _, row in ipairs(schema.rows) do
            list[#list + 1] = row[1]
            if row.inner then
                names(row.inner, list)
            end
        end
        return list
    end

    it("has every option", function()
        local of = options.schemas
        local schemas = { of.open, of.guard, of.changes, of.compress, source.schemas.sqlite, source.schemas.functions,
            source.schemas.model }
        for _, schema in pairs(of.verbs) do
            schemas[#schemas + 1] = schema
        end
        for _, schema in ipairs(schemas) do
            for _, name in ipairs(names(schema, {})) do
                assert.truthy(text:find("%f[%w_]" .. name .. "%f[^%w_]"), name)
            end
        end
    end)
end)
