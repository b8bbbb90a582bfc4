-- checker_worker.lua - a process that is judged: reads, writes, deletes and drops what it likes, from a seed, and
-- writes down what it did as checker.lua reads it. Odd processes do one thing at a time, even ones have coroutines.
local larder = require "larder"
local posix = require "spec.support.posix"
local profiles = require "spec.support.checker_profiles"
local sqlite = require "larder.sqlite"
local values = require "spec.support.values"

local null = larder.null

return function(folder, url, name, number, life, seed)
    local profile = profiles[name]
    local file = folder .. "/items.db"
    local cache = assert(larder.open(profiles.options(profile, url, file)))
    local own = assert(sqlite.open(file))
    local log = assert(io.open(profiles.log(folder, number, life), "a"))
    log:setvbuf "line"
    local draw = values.new(tonumber(seed) + 7919 * tonumber(number) + 104729 * tonumber(life), null)
    local n_writes = 0

    local function note(form, ...)
        log:write(form:format(...), "\n")
    end

    local function key(id)
        return "item:" .. id
    end

    -- The tag of a row that is whole and of that id.
    local function tag_of(row, id)
        if row == nil then
            return "-"
        end
        local whole = row.id == id and row.tag == row.twin and row.tag:match "^%d+" == tostring(id)
        return whole and row.tag or ("torn:%s:%s:%s"):format(row.id, row.tag, row.twin)
    end

    local function note_read(id, begin, row, err, outcome)
        if err then
            return note("E %d %.3f %.3f %s", id, begin, posix.now(), err.code)
        end
        note("R %d %.3f %.3f %s %s", id, begin, posix.now(), tag_of(row, id), outcome)
    end

    -- With the version of what is held, which must be that of the row.
    local function get_entry(id)
        local begin = posix.now()
        local entry, err = cache:get_entry(key(id))
        local row = entry and entry.value
        if row and entry.version ~= ("%d"):format(row.version) then
            row.twin = ("version %s for %s"):format(entry.version, row.version):gsub(" ", "_")
        end
        note_read(id, begin, row, err, entry and entry.outcome)
    end

    local function get(id, opts)
        local begin = posix.now()
        local row, err, outcome = cache:get(key(id), opts)
        note_read(id, begin, row, err, outcome)
        return row, err
    end

    -- By a loader of its own, which is slow to give what it has read: wide room for races.
    local function load(id, opts)
        local begin = posix.now()
        local row, err, outcome = cache:get(key(id), opts, function()
            local rows, why = own:query("SELECT id, tag, twin, price, version FROM items WHERE id = ?", id)
            larder.sleep(draw:below(profile.slow_ms or 10) * 0.001)
            local row = rows and rows[1]
            return row, why, { version = row and not profile.is_unversioned and row.version or nil }
        end)
        note_read(id, begin, row, err, outcome)
    end

    local function get_many(ids)
        local keys = {}
        for i, id in ipairs(ids) do
            keys[i] = key(id)
        end
        local begin = posix.now()
        local rows, errs = cache:get_many(keys)
        for _, id in ipairs(ids) do
            note_read(id, begin, rows[key(id)], errs[key(id)], "many")
        end
        return rows
    end

    local function new_tag(id)
        n_writes = n_writes + 1
        return ("%d.%s.%s.%d"):format(id, number, life, n_writes)
    end

    local function write(id, how)
        local tag, begin = new_tag(id), posix.now()
        note("B %s %.3f", tag, begin)
        local fine, err = how(tag)
        note("W %s %.3f %.3f %s", tag, begin, posix.now(), fine and "ok" or err and err.code or "lost")
    end

    local function set(id, price)
        write(id, function(tag)
            return cache:set(key(id), { id = id, tag = tag, twin = tag, price = price })
        end)
    end

    -- By another program: without the cache. What the database did not say is lost.
    local function set_outside(id)
        write(id, function(tag)
            return own:query("INSERT INTO items (id, tag, twin) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                .. "tag = excluded.tag, twin = excluded.twin", id, tag, tag)
        end)
    end

    local function drop(how, ...)
        local begin = posix.now()
        local _, err = cache[how](cache, ...)
        note("I %s %.3f %.3f %s", how, begin, posix.now(), err and err.code or "ok")
    end

    local verbs = {}

    function verbs.get(id) get(id) end

    function verbs.get_entry(id) get_entry(id) end

    function verbs.get_many() get_many { draw:below(3) + 1, draw:below(3) + 4, draw:below(6) + 7 } end

    function verbs.load(id) load(id) end

    function verbs.reload(id) load(id, { refresh = true }) end

    function verbs.refresh(id) get(id, { refresh = true }) end

    function verbs.set(id) set(id, draw:below(1000)) end

    -- The table refuses it.
    function verbs.rejected(id) set(id, -1) end

    function verbs.outside(id) set_outside(id) end

    function verbs.delete(id)
        local begin = posix.now()
        local _, err = cache:delete(key(id))
        note("D %d %.3f %.3f %s", id, begin, posix.now(), err and err.code or "ok")
    end

    function verbs.invalidate(id) drop("invalidate", key(id)) end

    function verbs.invalidate_all() drop "invalidate_all" end

    function verbs.touch(id) drop("touch", key(id), 1000) end

    -- Any row; where the profile has slices of time, it is the row of the moment but for those who only look.
    local function row_for(verb)
        if profile.slice_ms and not verb:find "^get" then
            return math.floor(posix.now() / profile.slice_ms) % profile.ids + 1
        end
        return draw:below(profile.ids) + 1
    end

    local function go_on(until_ms)
        while posix.now() < until_ms do
            local verb = profiles.drawn(profile, draw)
            verbs[verb](row_for(verb))
            if draw:below(8) > 0 then
                larder.sleep(draw:below(6) * 0.001)
            end
        end
    end

    local told = {}

    -- Goes on until that time; gives how many writes it began.
    function told.run(until_ms)
        local tasks = {}
        for i = 1, profile.tasks or tonumber(number) % 2 == 0 and 4 or 0 do
            tasks[i] = function() go_on(until_ms) end
        end
        if #tasks == 0 then
            go_on(until_ms)
        else
            larder.run(tasks)
        end
        return n_writes
    end

    -- How what is read differs from the table, nil where it is the same.
    local function differs()
        local wanted, ids = {}, {}
        for _, row in ipairs(assert(own:query "SELECT id, tag FROM items")) do
            wanted[row.id] = row.tag
        end
        for id = 1, profile.ids do
            ids[id] = id
            local row, err = get(id)
            local tag = err and tostring(err) or row and row.tag
            if tag ~= wanted[id] then
                return ("process %s reads %s of row %d, the table has %s"):format(number, tag, id, wanted[id])
            end
        end
        local rows = get_many(ids)
        for id = 1, profile.ids do
            local tag = rows[key(id)] and rows[key(id)].tag
            if tag ~= wanted[id] then
                return ("process %s reads %s of row %d, among many, the table has %s"):format(number, tag, id,
                    wanted[id])
            end
        end
    end

    -- Nobody writes any more: the time in ms until all that is read is what the table has; words where it still is not.
    function told.settle(ms)
        local began = posix.now()
        while true do
            local how = differs()
            if not how then
                return posix.now() - began
            elseif posix.now() > began + ms then
                return how
            end
            posix.sleep(5)
        end
    end

    function told.close()
        cache:close()
        own:close()
        log:close()
    end

    return told
end
