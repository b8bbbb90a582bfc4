-- checker.lua - the judge of a run: reads what each process wrote down and the table's own history, and says what was
-- wrong, and how stale what was read was. Times are milliseconds of CLOCK_MONOTONIC.
--
-- A line of a log, its words with one space between:
--   B TAG BEGIN                 a write begins; TAG is "ID.PROCESS.LIFE.N", unlike all others, and stands in the row
--   W TAG BEGIN END RESULT      it ended: "ok", or the error's code
--   D ID BEGIN END RESULT       a delete ended
--   R ID BEGIN END TAG OUTCOME  a read gave that row, or none: "-"
--   E ID BEGIN END CODE         a read failed
--
-- The history has every change that was committed, in the order of the commits (a trigger writes it). When a change was
-- committed is known within bounds: not before its write began or an earlier change was committed, and not after the
-- first end of it or of a later one. A value counts as superseded from the latest time on that these allow, so what is
-- called too old was too old.
local checker = {}

local INF = math.huge
-- The tick of the coarse clock, by which a memo's hit is judged.
local SLACK_MS = 20
local EXCERPT = 12

local Judge = {}
Judge.__index = Judge

-- rows: { { id =, tag = or nil: deleted }, ... } in their order, those of before the run, too: "ID.0...".
-- options: hard_ms, soft_ms (nil: none); windows = { { from, to }, ... }, when faults were about (with the time to
-- heal); ended_ms.
function checker.new(rows, options)
    local self = setmetatable({ rows = rows, options = options, by_tag = {}, deleted = {}, next_of = {}, begun = {},
        ended = {}, wrong = {}, n_wrong = 0, counts = {}, calm = {}, all = {}, n_calm = 0, n_all = 0 }, Judge)
    local last = {}
    for i, row in ipairs(rows) do
        if row.tag then
            self.by_tag[row.tag] = i
        else
            self.deleted[row.id] = self.deleted[row.id] or {}
            table.insert(self.deleted[row.id], i)
        end
        if last[row.id] then
            self.next_of[last[row.id]] = i
        end
        last[row.id] = i
    end
    return self
end

function Judge:count(what)
    self.counts[what] = (self.counts[what] or 0) + 1
end

-- The changes of an id around the i-th change, for eyes.
function Judge:around(id, i)
    local list, at = {}, 1
    for j, row in ipairs(self.rows) do
        if row.id == id then
            list[#list + 1] = ("  change %d: %s, committed between %.1f and %.1f"):format(j, row.tag or "deleted",
                self.lower[j], self.upper[j])
            at = j <= (i or 0) and #list or at
        end
    end
    local from = math.max(1, at - EXCERPT / 2)
    return table.concat(list, "\n", from, math.min(#list, from + EXCERPT))
end

function Judge:blame(kind, line, id, i)
    self.n_wrong = self.n_wrong + 1
    self:count("wrong: " .. kind)
    if #self.wrong < 3 then
        self.wrong[#self.wrong + 1] = ("%s: %s\n%s"):format(kind, line, self:around(id, i))
    end
end

-- ---- first pass: writes -------------------------------------------------------------------------------------------

-- Takes the lines of a log that are of writes; to be called for all logs before the times are bounded.
function Judge:writes_of(lines)
    for line in lines do
        local kind, tag, begin, rest = line:match "^([BW]) (%S+) (%S+) ?(.*)$"
        if kind == "B" then
            self.begun[tag] = tonumber(begin)
        elseif kind then
            local stop, result = rest:match "^(%S+) (%S+)$"
            self.begun[tag] = tonumber(begin)
            self.ended[tag] = { at = tonumber(stop), result = result, line = line }
        end
    end
end

local function bound(self)
    local rows, lower, upper = self.rows, {}, {}
    local floor = -INF
    for i, row in ipairs(rows) do
        floor = math.max(floor, row.tag and self.begun[row.tag] or -INF)
        lower[i] = floor
    end
    local ceiling = self.options.ended_ms
    for i = #rows, 1, -1 do
        local stop = rows[i].tag and self.ended[rows[i].tag]
        ceiling = math.min(ceiling, stop and stop.at or INF)
        upper[i] = ceiling
    end
    self.lower, self.upper = lower, upper
end

-- Bounds the times, and judges the writes by the history.
function Judge:settle_writes()
    bound(self)
    for tag, stop in pairs(self.ended) do
        local is_there, id = self.by_tag[tag], tonumber(tag:match "^%d+")
        self:count("writes, " .. stop.result)
        if stop.result == "ok" and not is_there then
            self:blame("an acknowledged write is not in the table's history", stop.line, id)
        elseif stop.result ~= "ok" and stop.result ~= "lost" and is_there then
            self:blame("a write that failed took effect", stop.line, id, is_there)
        end
    end
    for i, row in ipairs(self.rows) do
        if row.tag and not self.begun[row.tag] and not row.tag:find "^%d+%.0%." then
            self:blame("a change that nobody made", row.tag, row.id, i)
        end
    end
end

-- ---- second pass: reads -------------------------------------------------------------------------------------------

-- Was there a time within the call at which no row was there?
function Judge:was_absent(id, begin, stop)
    for _, i in ipairs(self.deleted[id] or {}) do
        local next = self.next_of[i]
        if self.lower[i] <= stop and (not next or self.upper[next] >= begin) then
            return true
        end
    end
    return false
end

-- The change that a read of nothing saw: the last delete that can have been committed when it ended.
function Judge:seen_absent(id, stop)
    local list = self.deleted[id] or {}
    for n = #list, 1, -1 do
        if self.lower[list[n]] <= stop then
            return list[n]
        end
    end
end

local function in_window(windows, at)
    local low, high = 1, #windows
    while low <= high do
        local middle = math.floor((low + high) / 2)
        if windows[middle][2] < at then
            low = middle + 1
        else
            high = middle - 1
        end
    end
    return windows[low] ~= nil and windows[low][1] <= at
end

function Judge:note(begin, stale_ms)
    local bucket = math.ceil(stale_ms)
    self.all[bucket] = (self.all[bucket] or 0) + 1
    self.n_all = self.n_all + 1
    if not in_window(self.options.windows, begin) then
        self.calm[bucket] = (self.calm[bucket] or 0) + 1
        self.n_calm = self.n_calm + 1
    end
end

function Judge:read(line)
    local id, begin, stop, tag, outcome = line:match "^R (%S+) (%S+) (%S+) (%S+) (%S+)$"
    id, begin, stop = tonumber(id), tonumber(begin), tonumber(stop)
    self:count("reads, " .. outcome)
    local seen
    if tag == "-" then
        seen = self:seen_absent(id, stop)
    else
        seen = self.by_tag[tag]
        seen = seen and self.rows[seen].id == id and seen
    end
    if not seen then
        local result = self.ended[tag] and self.ended[tag].result
        local has_failed = result and result ~= "ok" and result ~= "lost"
        return self:blame(has_failed and "a failed write was read" or "what was read was never committed", line, id)
    elseif self.lower[seen] > stop then
        self:blame("a read saw what was written later", line, id, seen)
    end
    local next = self.next_of[seen]
    local stale_ms = next and math.max(0, begin - self.upper[next]) or 0
    self:note(begin, stale_ms)
    if stale_ms > self.options.hard_ms + SLACK_MS then
        self:blame("a read was too old", ("%s (%.0f ms)"):format(line, stale_ms), id, seen)
    end
end

local ERRORS = { timeout = true, busy = true, unavailable = true, source = true }

-- Judges the reads and deletes of a log; the last line of one who was killed may be torn.
function Judge:reads_of(lines)
    for line in lines do
        local kind = line:match "^([RED]) .* .*$"
        if kind == "R" and line:find "^R %S+ %S+ %S+ %S+ %S+$" then
            self:read(line)
        elseif kind == "E" then
            local id, code = line:match "^E (%S+) %S+ %S+ (%S+)$"
            self:count("reads failed, " .. tostring(code))
            if code and not ERRORS[code] then
                self:blame("a read failed that should not", line, tonumber(id))
            end
        elseif kind == "D" then
            local id, begin, stop, result = line:match "^D (%S+) (%S+) (%S+) (%S+)$"
            self:count("deletes, " .. tostring(result))
            if result == "ok" and not self:was_absent(tonumber(id), tonumber(begin), tonumber(stop)) then
                self:blame("an acknowledged delete did nothing", line, tonumber(id))
            end
        end
    end
end

-- ---- the verdict --------------------------------------------------------------------------------------------------

local function percentiles(buckets, n)
    local keys = {}
    for ms in pairs(buckets) do
        keys[#keys + 1] = ms
    end
    table.sort(keys)
    local found, sum = {}, 0
    for _, ms in ipairs(keys) do
        sum = sum + buckets[ms]
        for _, share in ipairs { 0.5, 0.99, 0.999, 1 } do
            found[share] = found[share] or (sum >= share * n and ms) or nil
        end
    end
    return ("p50 %d, p99 %d, p99.9 %d, max %d ms of %d reads"):format(found[0.5] or 0, found[0.99] or 0,
        found[0.999] or 0, found[1] or 0, n)
end

-- Of the reads that no fault disturbed more than one in a thousand was staler than the soft bound.
function Judge:judge_soft()
    local late = 0
    for ms, n in pairs(self.calm) do
        late = late + (ms > (self.options.soft_ms or INF) and n or 0)
    end
    if late > self.n_calm / 1000 then
        self.n_wrong = self.n_wrong + 1
        table.insert(self.wrong, 1, ("%d of %d reads were later than the soft bound"):format(late, self.n_calm))
    end
end

-- One line of figures, one of counts; and what was wrong as text, nil where nothing was.
function Judge:verdict()
    self:judge_soft()
    local names, figures = {}, {}
    for name in pairs(self.counts) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        figures[i] = ("%s %d"):format(name, self.counts[name])
    end
    local stale = ("staleness %s; without faults about %s"):format(percentiles(self.all, self.n_all),
        percentiles(self.calm, self.n_calm))
    local wrong = self.n_wrong > 0 and ("%d wrong\n%s"):format(self.n_wrong, table.concat(self.wrong, "\n")) or nil
    return stale, table.concat(figures, ", "), wrong
end

-- All of it: logs are the names of files. Gives the judge.
function checker.judge(rows, logs, options)
    local judge = checker.new(rows, options)
    for _, name in ipairs(logs) do
        judge:writes_of(io.lines(name))
    end
    judge:settle_writes()
    for _, name in ipairs(logs) do
        judge:reads_of(io.lines(name))
    end
    return judge
end

return checker
