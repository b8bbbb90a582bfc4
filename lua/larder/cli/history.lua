-- history.lua - what the table held, and when, as two processes wrote it down: every value that either of them read is
-- compared with it afterwards. Both have the same clock.
--
-- Each product is written by one of the two, so that its editions follow each other. A read may give an edition that
-- ended at most `bound` seconds before the read began; one whose writing had begun before the read ended; and never one
-- older than what was written before through the same cache.

local core = require "larder.core"

local history = {}

---- writing down ----------------------------------------------------------------------------------------------------

local log = {}
log.__index = log

-- The notes of one process: stands where the replay wants a truth. before: the editions that stood already, by product.
function history.log(shop, before)
    local editions = {}
    for id, edition in pairs(before or {}) do
        editions[id] = edition
    end
    return setmetatable({ shop = shop, editions = editions, reads = {}, writes = {} }, log)
end

-- The edition that this process wrote last; it is asked for before the next is written.
function log:edition(id)
    self.from = core.now()
    return self.editions[id] or 1
end

function log:committed(id, at, own)
    local edition = (self.editions[id] or 1) + 1
    self.editions[id] = edition
    self.writes[#self.writes + 1] = { id = id, edition = edition, from = self.from, to = at, own = own }
end

-- What is wrong with the row itself is known at once; how old it was, later.
function log:check(id, row, began)
    local fault = self.shop:fault(id, row)
    if fault then
        return ("product %d %s"):format(id, fault), 0
    end
    self.reads[#self.reads + 1] = { id = id, edition = row.edition, began = began, ended = core.now() }
    return nil, 0
end

---- from one process to the other -----------------------------------------------------------------------------------

function log:save(file)
    for _, w in ipairs(self.writes) do
        file:write(("w %d %d %.9f %.9f %d\n"):format(w.id, w.edition, w.from, w.to, w.own and 1 or 0))
    end
    for _, r in ipairs(self.reads) do
        file:write(("r %d %d %.9f %.9f\n"):format(r.id, r.edition, r.began, r.ended))
    end
end

local NUMBERS = "^(%l) (%d+) (%d+) (%S+) (%S+) ?(%d?)$"

-- Takes a line of a saved log; false: it is none.
function log:take(line)
    local kind, id, edition, from, to, own = line:match(NUMBERS)
    if kind == "w" then
        self.writes[#self.writes + 1] = { id = tonumber(id), edition = tonumber(edition), from = tonumber(from),
            to = tonumber(to), own = own == "1" }
    elseif kind == "r" then
        self.reads[#self.reads + 1] = { id = tonumber(id), edition = tonumber(edition), began = tonumber(from),
            ended = tonumber(to) }
    end
    return kind == "w" or kind == "r"
end

---- judging ---------------------------------------------------------------------------------------------------------

-- Writes of all logs: by product, by edition; `first` stood before them all.
local function by_product(logs, before)
    local known = {}
    for id, edition in pairs(before) do
        known[id] = { first = edition, newest = edition }
    end
    for side, notes in ipairs(logs) do
        for _, w in ipairs(notes.writes) do
            known[w.id] = known[w.id] or { first = 1, newest = 1 }
            known[w.id][w.edition] = w
            known[w.id].newest = math.max(known[w.id].newest, w.edition)
            w.side = side
        end
    end
    return known
end

-- The newest edition that this process had written through its cache before the read.
local function own_before(editions, read, side)
    for edition = editions.newest, editions.first + 1, -1 do
        local w = editions[edition]
        if w and w.own and w.side == side and w.to <= read.began then
            return edition
        end
    end
    return 1
end

-- What is wrong with a read (nil: nothing), and how long ago what it gave had ended.
local function judge(editions, read, side, bound)
    local this, after = editions[read.edition], editions[read.edition + 1]
    if read.edition > editions.first and not (this and this.from <= read.ended) then
        return ("product %d: edition %d was never committed"):format(read.id, read.edition), 0
    elseif read.edition < editions.first then
        return ("product %d: edition %d had ended before the two processes began"):format(read.id, read.edition), 0
    end
    local age = after and math.max(0, read.began - after.to) or 0
    local own = own_before(editions, read, side)
    if read.edition < own then
        return ("product %d: edition %d after edition %d was written through the cache"):format(read.id, read.edition,
            own), age
    elseif age > bound then
        return ("product %d: edition %d ended %.3f s before the read began"):format(read.id, read.edition, age), age
    end
    return nil, age
end

local UNWRITTEN = { first = 1, newest = 1 }

-- before: the editions that stood when the two began, by product (1 where there is none).
-- Gives the number of wrong reads, the first one's fault, and the age of the oldest value that was right to give.
function history.judge(logs, before, bound)
    local known, wrong, first, oldest = by_product(logs, before), 0, nil, 0
    for side, notes in ipairs(logs) do
        for _, read in ipairs(notes.reads) do
            local fault, age = judge(known[read.id] or UNWRITTEN, read, side, bound)
            if fault then
                wrong, first = wrong + 1, first or fault
            else
                oldest = math.max(oldest, age)
            end
        end
    end
    return wrong, first, oldest
end

return history
