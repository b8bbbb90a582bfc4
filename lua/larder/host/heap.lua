-- heap.lua - timers: a binary heap of tables with a time `at`; earliest first, equals in order of `seq`.
--
-- Each member knows its place (`place`), so that a timer which is no longer needed leaves at once.

local heap = {}
heap.__index = heap

function heap.new()
    return setmetatable({ n = 0 }, heap)
end

local function before(a, b)
    return a.at < b.at or a.at == b.at and a.seq < b.seq
end

local function put(h, item, place)
    h[place] = item
    item.place = place
end

local function rise(h, item, place)
    while place > 1 do
        local up = (place - place % 2) / 2
        if not before(item, h[up]) then
            break
        end
        put(h, h[up], place)
        place = up
    end
    put(h, item, place)
end

local function sink(h, item, place)
    while 2 * place <= h.n do
        local down = 2 * place
        if down < h.n and before(h[down + 1], h[down]) then
            down = down + 1
        end
        if not before(h[down], item) then
            break
        end
        put(h, h[down], place)
        place = down
    end
    put(h, item, place)
end

function heap:push(item)
    self.n = self.n + 1
    rise(self, item, self.n)
end

-- The earliest member, nil when there is none.
function heap:first()
    return self[1]
end

-- Takes a member out; not a member: nothing happens.
function heap:remove(item)
    local place = item.place
    if not place then
        return
    end
    item.place = nil
    local last = self[self.n]
    self[self.n] = nil
    self.n = self.n - 1
    if last ~= item then
        sink(self, last, place)
        rise(self, last, last.place)
    end
end

return heap
