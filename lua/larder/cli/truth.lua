-- truth.lua - what the table held, and when: every value that the demo reads is compared with it.
--
-- All changes are made by this program, one after another, so that the moment at which an edition ended is known. A
-- read may give an edition that ended at most `bound` seconds before the read began; never one older than what was
-- written through the same cache.

local truth = {}
truth.__index = truth

-- bound: in seconds.
function truth.new(shop, bound)
    return setmetatable({ shop = shop, bound = bound, editions = {}, ended = {}, own = {} }, truth)
end

-- The edition that the table holds now.
function truth:edition(id)
    return self.editions[id] or 1
end

-- The next edition of a product was committed at `at`, through the cache (own) or past it.
function truth:committed(id, at, own)
    local before = self:edition(id)
    local ended = self.ended[id] or {}
    ended[before], self.ended[id] = at, ended
    self.editions[id] = before + 1
    if own then
        self.own[id] = before + 1
    end
end

-- Compares what a read that began at `began` gave. Gives what is wrong (nil: nothing) and how long ago what it gave
-- had ended (0: it was current).
function truth:check(id, row, began)
    local fault = self.shop:fault(id, row)
    if fault then
        return ("product %d %s"):format(id, fault), 0
    elseif row.edition > self:edition(id) then
        return ("product %d: edition %d was never committed"):format(id, row.edition), 0
    end
    local ended = self.ended[id] and self.ended[id][row.edition]
    local age = ended and math.max(0, began - ended) or 0
    if row.edition < (self.own[id] or 1) then
        return ("product %d: edition %d after edition %d was written through the cache"):format(id, row.edition,
            self.own[id]), age
    elseif age > self.bound then
        return ("product %d: edition %d ended %.3f s before the read began"):format(id, row.edition, age), age
    end
    return nil, age
end

return truth
