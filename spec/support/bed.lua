-- bed.lua - what the specs of the cache share: how a failure and a misuse look, counts, seeds, children, tables.

local assert = require "luassert"
local shell = require "spec.support.shell"

local bed = {}

bed.is_jit = rawget(_G, "jit") ~= nil
bed.prove = os.getenv "LARDER_PROVE" == "1"
bed.seed = tonumber(os.getenv "LARDER_SEED") or os.time()
bed.null = require("larder").null

-- The full count when everything is to be proved, else the reduced one.
function bed.count(full, reduced)
    return bed.prove and full or reduced
end

-- nil, err with this code; pattern is looked for in the message. Gives the error.
function bed.fails(code, pattern, value, err)
    assert.is_nil(value)
    assert.is_table(err, "an error object is wanted")
    assert.equal(code, err.code, tostring(err))
    assert.is_string(err.message)
    assert.equal(err.code .. ": " .. err.message, tostring(err))
    if pattern then
        assert.truthy(err.message:find(pattern), err.message)
    end
    return err
end

-- fn (a function on one line, whose call is no tail call) raises a string that begins with that line and holds
-- each of the texts.
function bed.misuse(fn, ...)
    local info = debug.getinfo(fn, "S")
    local fine, message = pcall(fn)
    assert.is_false(fine, "misuse must raise")
    assert.is_string(message)
    local at = ("%s:%d: "):format(info.short_src, info.linedefined)
    assert.equal(at, message:sub(1, #at), message)
    for _, text in ipairs { ... } do
        assert.truthy(message:find(text, 1, true), message .. "\nlacks: " .. text)
    end
    return message
end

-- Does a tool watch the memory here? Then limits of memory and figures of it mean nothing.
local preloaded = os.getenv "LD_PRELOAD" or ""
bed.is_watched = preloaded:find("asan", 1, true) ~= nil or preloaded:find("vgpreload", 1, true) ~= nil

-- Runs Lua code in a process of its own (options: before, a shell command such as `ulimit -n 10`; args; lua).
-- Gives what it printed and its exit status.
function bed.child(code, options)
    options = options or {}
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(code)
    file:close()
    -- what a process holds that ends without closing its Lua state is no leak
    local text, status = shell.run(("%s ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 timeout 60 %s %s %s"):format(
        options.before and options.before .. ";" or "", options.lua or shell.lua, options.args or "", name))
    os.remove(name)
    return text, status
end

-- A child that must end well and print "fine" as its last line.
function bed.child_is_fine(code, options)
    local text, status = bed.child(code, options)
    assert.equal(0, status, text)
    assert.equal("fine", text:match("([^\n]*)\n?$"), text)
end

-- A SQLite file with a migrated table items(id, name, price); gives the file, a connection of its own and a function
-- that takes all away. options: migrate = false, changes = true.
function bed.items(options)
    options = options or {}
    local sqlite = require "larder.sqlite"
    local file, remove = shell.temporary ".db"
    local db = assert(sqlite.open(file, { create = true }))
    assert(db:exec "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price INTEGER CHECK (price >= 0))")
    if options.migrate ~= false then
        assert(sqlite.migrate { file = file, table = "items", changes = options.changes, mode = "apply" })
    end
    for id = 1, 5 do
        assert(db:query("INSERT INTO items (id, name, price) VALUES (?, ?, ?)", id, "item " .. id, id * 10))
    end
    return file, db, function()
        db:close()
        remove()
    end
end

return bed
