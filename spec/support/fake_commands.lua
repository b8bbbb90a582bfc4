-- fake_commands.lua - what the fake Redis does at each command, server-side scripts excepted (fake_redis.lua has
-- those).
-- A command is called with the server, the connection and the words, and gives its reply as resp.lua has it.
local resp = require "spec.support.resp"

local WRONGTYPE = { err = "WRONGTYPE Operation against a key holding the wrong kind of value" }
local NO_INTEGER = { err = "ERR value is not an integer or out of range" }
local SYNTAX = { err = "ERR syntax error" }
local OK = { ok = "OK" }
local MOST_STRING = 512 * 1024 * 1024

-- ---- values --------------------------------------------------------------------------------------------------------

-- An integer of 64 bits as a double; nil where the text is none.
local function integer(text)
    local sign, digits = text:match "^(%-?)([1-9]%d*)$"
    if text == "0" then
        return 0.0
    elseif not digits or #digits > 19 or (#digits == 19 and digits > (sign == "" and "9223372036854775807"
        or "9223372036854775808")) then
        return nil
    end
    return tonumber(text) + 0.0
end

-- The entry of a key, which is gone once its time is over. kind: nil, WRONGTYPE where it is of another.
local function entry_of(self, c, key, kind)
    local db = self.dbs[c.db]
    local entry = db[key]
    if entry and entry.until_ms and self:now_ms() > entry.until_ms then
        db[key], entry = nil, nil
    end
    if entry and kind and entry.kind ~= kind then
        return nil, WRONGTYPE
    end
    return entry
end

local function hash_of(self, c, key, is_made)
    local entry, wrong = entry_of(self, c, key, "hash")
    if not entry and not wrong and is_made then
        entry = { kind = "hash", value = {} }
        self.dbs[c.db][key] = entry
    end
    return entry, wrong
end

-- ---- commands: arity as Redis counts it, flags: w writes, m needs memory, l answers while loading, n not in scripts

local commands = {}

local function command(name, arity, flags, fn)
    commands[name] = { name = name, arity = arity, flags = flags, run = fn }
end

command("GET", 2, "", function(self, c, argv)
    local entry, wrong = entry_of(self, c, argv[2], "string")
    return wrong or entry and entry.value or false
end)

command("MGET", -2, "", function(self, c, argv)
    local list = { n = #argv - 1 }
    for i = 2, #argv do
        local entry = entry_of(self, c, argv[i], "string")
        list[i - 1] = entry and entry.value or false
    end
    return list
end)

command("STRLEN", 2, "", function(self, c, argv)
    local entry, wrong = entry_of(self, c, argv[2], "string")
    return wrong or entry and #entry.value or 0
end)

-- The options of SET; nil, an error.
local function set_options(argv)
    local o, i = {}, 4
    while argv[i] do
        local word, n = argv[i]:upper(), argv[i + 1]
        if (word == "EX" or word == "PX") and n and not o.unit and not o.KEEPTTL then
            o.unit, o.number, i = word, n, i + 1
        elseif (word == "NX" and not o.XX) or (word == "XX" and not o.NX) or word == "GET"
            or (word == "KEEPTTL" and not o.unit) then
            o[word] = true
        else
            return nil, SYNTAX
        end
        i = i + 1
    end
    return o
end

local function set_until(self, o)
    if not o.unit then
        return nil
    end
    local n = integer(o.number)
    if not n then
        return nil, NO_INTEGER
    elseif n <= 0 or n > 9e15 then
        return nil, { err = "ERR invalid expire time in 'set' command" }
    end
    return self:now_ms() + (o.unit == "EX" and 1000 * n or n)
end

command("SET", -3, "wm", function(self, c, argv)
    local o, wrong = set_options(argv)
    local until_ms
    if o then
        until_ms, wrong = set_until(self, o)
    end
    if wrong then
        return wrong
    end
    local before = entry_of(self, c, argv[2])
    if o.GET and before and before.kind ~= "string" then
        return WRONGTYPE
    end
    local old = before and before.value or false
    if (o.NX and before) or (o.XX and not before) then
        return o.GET and old
    end
    until_ms = until_ms or (o.KEEPTTL and before and before.until_ms) or nil
    self.dbs[c.db][argv[2]] = { kind = "string", value = argv[3], until_ms = until_ms }
    return o.GET and old or not o.GET and OK
end)

command("SETRANGE", 4, "wm", function(self, c, argv)
    local offset, text = integer(argv[3]), argv[4]
    if not offset then
        return NO_INTEGER
    elseif offset < 0 then
        return { err = "ERR offset is out of range" }
    end
    local entry, wrong = entry_of(self, c, argv[2], "string")
    if wrong or text == "" then
        return wrong or entry and #entry.value or 0
    elseif offset + #text > MOST_STRING then
        return { err = "ERR string exceeds maximum allowed size (proto-max-bulk-len)" }
    end
    entry = entry or { kind = "string", value = "" }
    self.dbs[c.db][argv[2]] = entry
    local value = entry.value .. ("\0"):rep(offset - #entry.value)
    entry.value = value:sub(1, offset) .. text .. value:sub(offset + #text + 1)
    return #entry.value
end)

command("GETRANGE", 4, "", function(self, c, argv)
    local from, to = integer(argv[3]), integer(argv[4])
    if not from or not to then
        return NO_INTEGER
    end
    local entry, wrong = entry_of(self, c, argv[2], "string")
    if wrong or not entry or (from < 0 and to < 0 and from > to) then
        return wrong or ""
    end
    local n = #entry.value
    from, to = math.max(from < 0 and n + from or from, 0), math.max(to < 0 and n + to or to, 0)
    return entry.value:sub(math.min(from, n) + 1, math.min(to, n) + 1)
end)

command("DEL", -2, "w", function(self, c, argv)
    local n = 0
    for i = 2, #argv do
        n = n + (entry_of(self, c, argv[i]) and 1 or 0)
        self.dbs[c.db][argv[i]] = nil
    end
    return n
end)

command("EXISTS", -2, "", function(self, c, argv)
    local n = 0
    for i = 2, #argv do
        n = n + (entry_of(self, c, argv[i]) and 1 or 0)
    end
    return n
end)

command("TYPE", 2, "", function(self, c, argv)
    local entry = entry_of(self, c, argv[2])
    return { ok = entry and entry.kind or "none" }
end)

local function expire(unit_ms)
    return function(self, c, argv)
        local n = integer(argv[3])
        if not n or argv[4] then
            return n and { err = "ERR Unsupported option " .. argv[4] } or NO_INTEGER
        end
        local entry = entry_of(self, c, argv[2])
        if not entry then
            return 0
        elseif n <= 0 then
            self.dbs[c.db][argv[2]] = nil
        end
        entry.until_ms = self:now_ms() + n * unit_ms
        return 1
    end
end
command("EXPIRE", -3, "w", expire(1000))
command("PEXPIRE", -3, "w", expire(1))

local function ttl(unit_ms)
    return function(self, c, argv)
        local entry = entry_of(self, c, argv[2])
        if not entry then
            return -2
        end
        local left_ms = entry.until_ms and entry.until_ms - self:now_ms()
        return left_ms and math.floor(left_ms / unit_ms + (unit_ms > 1 and 0.5 or 0)) or -1
    end
end
command("TTL", 2, "", ttl(1000))
command("PTTL", 2, "", ttl(1))

command("PERSIST", 2, "w", function(self, c, argv)
    local entry = entry_of(self, c, argv[2])
    local had = entry and entry.until_ms
    if had then
        entry.until_ms = nil
    end
    return had and 1 or 0
end)

command("HGET", 3, "", function(self, c, argv)
    local entry, wrong = hash_of(self, c, argv[2])
    return wrong or entry and entry.value[argv[3]] or false
end)

command("HMGET", -3, "", function(self, c, argv)
    local entry, wrong = hash_of(self, c, argv[2])
    local list = { n = #argv - 2 }
    for i = 3, #argv do
        list[i - 2] = entry and entry.value[argv[i]] or false
    end
    return wrong or list
end)

command("HSET", -4, "wm", function(self, c, argv)
    if #argv % 2 == 1 then
        return { err = "ERR wrong number of arguments for 'hset' command" }
    end
    local entry, wrong = hash_of(self, c, argv[2], true)
    local n = 0
    for i = 3, wrong and 0 or #argv, 2 do
        n = n + (entry.value[argv[i]] and 0 or 1)
        entry.value[argv[i]] = argv[i + 1]
    end
    return wrong or n
end)

command("HSETNX", 4, "wm", function(self, c, argv)
    local entry, wrong = hash_of(self, c, argv[2], true)
    if wrong or entry.value[argv[3]] then
        return wrong or 0
    end
    entry.value[argv[3]] = argv[4]
    return 1
end)

command("HDEL", -3, "w", function(self, c, argv)
    local entry, wrong = hash_of(self, c, argv[2])
    local n = 0
    for i = 3, entry and #argv or 0 do
        n = n + (entry.value[argv[i]] and 1 or 0)
        entry.value[argv[i]] = nil
    end
    if entry and next(entry.value) == nil then
        self.dbs[c.db][argv[2]] = nil
    end
    return wrong or n
end)

-- Exact below 2^53, as far as anybody counts here.
command("HINCRBY", 4, "wm", function(self, c, argv)
    local by = integer(argv[4])
    if not by then
        return NO_INTEGER
    end
    local entry, wrong = hash_of(self, c, argv[2], true)
    if wrong then
        return wrong
    end
    local sum = integer(entry.value[argv[3]] or "0")
    if not sum then
        return { err = "ERR hash value is not an integer" }
    elseif math.abs(sum + by) >= 2 ^ 63 then
        return { err = "ERR increment or decrement would overflow" }
    end
    entry.value[argv[3]] = ("%.0f"):format(sum + by)
    return sum + by
end)

command("TIME", 1, "l", function(self)
    local us = math.floor(self.now() + self.offset_us)
    return { n = 2, ("%.0f"):format(math.floor(us / 1e6)), ("%.0f"):format(us % 1e6) }
end)

command("PUBLISH", 3, "l", function(self, _, argv)
    local n = 0
    for other in pairs(self.connections) do
        n = n + (other.channels[argv[2]] and 1 or 0)
    end
    local push = resp.write { n = 3, "message", argv[2], argv[3] }
    self.published[#self.published + 1] = { channel = argv[2], payload = argv[3], push = push }
    return n
end)

command("SUBSCRIBE", -2, "ln", function(_, c, argv)
    local out = { all = true }
    for i = 2, #argv do
        c.n_channels = c.n_channels + (c.channels[argv[i]] and 0 or 1)
        c.channels[argv[i]] = true
        out[i - 1] = resp.write { n = 3, "subscribe", argv[i], c.n_channels }
    end
    return out
end)

command("PING", -1, "", function(_, c, argv)
    if #argv > 2 then
        return { err = "ERR wrong number of arguments for 'ping' command" }
    end
    return c.n_channels > 0 and { n = 2, "pong", argv[2] or "" } or argv[2] or { ok = "PONG" }
end)

command("AUTH", -2, "ln", function(self, c, argv)
    if #argv > 3 then
        return SYNTAX
    elseif not argv[3] and not self.password then
        return { err = "ERR AUTH <password> called without any password configured for the default user. "
            .. "Are you sure your configuration is correct?" }
    end
    local user, password = argv[3] and argv[2] or "default", argv[3] or argv[2]
    if user ~= self.user or (self.password and password ~= self.password) then
        return { err = "WRONGPASS invalid username-password pair or user is disabled." }
    end
    c.is_known = true
    return OK
end)

command("SELECT", 2, "l", function(_, c, argv)
    local n = integer(argv[2])
    if not n or n < 0 or n > 15 then
        return n and { err = "ERR DB index is out of range" } or NO_INTEGER
    end
    c.db = n
    return OK
end)

local function branches(name, flags, list)
    command(name, -2, flags, function(self, c, argv)
        local branch = list[argv[2]:upper()]
        if not branch then
            return { err = ("ERR unknown subcommand '%s'. Try %s HELP."):format(argv[2], name) }
        elseif branch[1] ~= #argv and branch[1] >= 0 or #argv < -branch[1] then
            local whole = (name .. "|" .. argv[2]):lower()
            return { err = ("ERR wrong number of arguments for '%s' command"):format(whole) }
        end
        return branch[2](self, c, argv)
    end)
end

branches("CLIENT", "ln", {
    SETNAME = { 3, function(_, c, argv)
        c.name = argv[3]
        return OK
    end },
    GETNAME = { 2, function(_, c)
        return c.name or false
    end },
    ID = { 2, function(_, c)
        return c.id
    end },
})

command("FLUSHALL", -1, "w", function(self)
    self:empty()
    return OK
end)

command("DBSIZE", 1, "", function(self, c)
    local n = 0
    for key in pairs(self.dbs[c.db]) do
        n = n + (entry_of(self, c, key) and 1 or 0)
    end
    return n
end)

command("INFO", -1, "l", function(self)
    return ("# Server\r\nredis_version:7.0.15\r\nrun_id:%s\r\nloading:%d\r\n"):format(self.run_id,
        self.mode == "LOADING" and 1 or 0)
end)

return {
    commands = commands, command = command, branches = branches, integer = integer, NO_INTEGER = NO_INTEGER, OK = OK,
}
