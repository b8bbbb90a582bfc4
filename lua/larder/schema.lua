-- schema.lua - reads a table of options by rows and gives a flat, plain copy; what is wrong raises misuse.
--
-- A row is { name, parse, default =, doc =, unit =, to = } or, for a nested table, { name, rows = {...},
-- off = true where false is allowed, doc = }. An unbuilt row has the kind it has in unbuilt.lua; like a hidden one
-- it is not named among the valid. A parser gives
-- true and the value, or false, the words for what was wanted and (optional) what was got. The user's tables are
-- read raw: no metamethod of theirs is run, nothing of them is kept but functions and objects made by Larder.

local errors = require "larder.errors"
local unbuilt = require "larder.unbuilt"

local schema = {}

local floor, huge = math.floor, math.huge
local to_integer = math.tointeger or function(x)
    return x
end
-- luacheck: push ignore 143
local raw_length = rawlen or function(t)
    return #t
end
-- luacheck: pop

-- Can it be called: a function, or anything with a __call of its own.
function schema.is_callable(f)
    if type(f) == "function" then
        return true
    end
    local mt = getmetatable(f)
    return type(mt) == "table" and type(rawget(mt, "__call")) == "function"
end

---- parsers -----------------------------------------------------------------------------------------------------

function schema.boolean(value)
    if type(value) == "boolean" then
        return true, value
    end
    return false, "true or false"
end

function schema.callable(value)
    if schema.is_callable(value) then
        return true, value
    end
    return false, "a function"
end

-- A string of 1 to `max` bytes without NUL.
function schema.text(max)
    local wanted = max and ("a string of 1 to %d bytes"):format(max) or "a string that is not empty"
    return function(value)
        local fine = type(value) == "string" and value ~= "" and #value <= (max or huge)
            and not value:find("\0", 1, true)
        return fine, fine and value or wanted
    end
end

-- One word of a list. Words of `unbuilt` (optional) are let through, for whoever says that they are not built, but
-- never named as wanted.
function schema.word(words, unbuilt_words)
    local set = {}
    for _, list in ipairs { words, unbuilt_words } do
        for _, word in ipairs(list) do
            set[word] = true
        end
    end
    local wanted = words[2] and "one of " .. table.concat(words, ", ") or ('"%s"'):format(words[1])
    return function(value)
        if type(value) == "string" and set[value] then
            return true, value
        end
        return false, wanted
    end
end

-- A whole number from min to max.
function schema.integer(min, max)
    local wanted = ("a whole number from %d to %d"):format(min, max)
    return function(value)
        local fine = type(value) == "number" and value >= min and value <= max and floor(value) == value
        return fine, fine and to_integer(value) or wanted
    end
end

-- A number from min to max, both included.
function schema.number(min, max)
    local wanted = ("a number from %g to %g"):format(min, max)
    return function(value)
        local fine = type(value) == "number" and value >= min and value <= max
        return fine, fine and value or wanted
    end
end

-- A span of time: seconds, 0 and math.huge included.
function schema.seconds(value)
    local fine = type(value) == "number" and value >= 0
    return fine, fine and value or "seconds, 0 or more"
end

-- A span of time that is longer than nothing.
function schema.some_seconds(value)
    local fine = type(value) == "number" and value > 0
    return fine, fine and value or "seconds, more than 0"
end

-- A time to live: 0 = not kept, math.huge = never expires.
function schema.ttl(value)
    local fine = type(value) == "number" and value >= 0
    return fine, fine and value or "seconds, 0 (not kept) or more, math.huge for never"
end

-- The same, or a function(key, value, ctx) that gives it.
function schema.ttl_or_function(value)
    if schema.is_callable(value) then
        return true, value
    end
    local fine, result = schema.ttl(value)
    return fine, fine and result or result .. ", or a function"
end

local scale = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30, T = 2 ^ 40 }

local function bytes_of(value)
    if type(value) == "number" then
        return value
    elseif type(value) ~= "string" then
        return nil
    end
    local digits, unit = value:match("^(%d+)([KMGTkmgt]?)$")
    return digits and tonumber(digits) * scale[unit:upper()]
end

-- An amount of bytes from min up: a whole number, or a string such as "64M" (K, M, G, T are powers of 1024).
function schema.bytes(min)
    local wanted = ('bytes, a whole number from %d or a string such as "64M"'):format(min)
    return function(value)
        local bytes = bytes_of(value)
        local fine = bytes and bytes >= min and bytes <= 2 ^ 53 and floor(bytes) == bytes
        return fine or false, fine and to_integer(bytes) or wanted
    end
end

local largest = "9223372036854775807"

local function version_digits(value)
    local kind = type(value)
    if kind == "string" then
        return value:match("^%d+$")
    elseif kind == "number" then
        local exact = math.type and math.type(value) == "integer" or value <= 2 ^ 53
        return exact and value >= 0 and floor(value) == value and ("%d"):format(value) or nil
    elseif kind == "cdata" then
        return tostring(value):match("^(%d+)U?LL$")
    end
    return nil
end

-- A version as a decimal string of an integer from 0 to 2^63-1; nil when it is none.
function schema.version_text(value)
    local digits = version_digits(value)
    digits = digits and digits:gsub("^0+(%d)", "%1")
    if digits and (#digits < #largest or #digits == #largest and digits <= largest) then
        return digits
    end
    return nil
end

function schema.version(value)
    local digits = schema.version_text(value)
    return digits ~= nil, digits or "a version: an integer from 0 to 2^63-1, or its decimal string"
end

-- A version that must be current, or false: must be absent.
function schema.if_version(value)
    if value == false then
        return true, false
    end
    local fine, result = schema.version(value)
    return fine, fine and result or result .. ", or false (must be absent)"
end

-- The items of a plain list of strings, copied; nil when it is anything else or empty.
function schema.strings(t)
    local n, copy = raw_length(t), {}
    for key, value in next, t do
        if type(key) ~= "number" or key < 1 or key > n or floor(key) ~= key or type(value) ~= "string" then
            return nil
        end
        copy[key] = value
    end
    return #copy > 0 and copy or nil
end

---- reading -----------------------------------------------------------------------------------------------------

-- Prepares rows for reading; gives the schema.
function schema.new(rows, prefix)
    local made = { rows = rows, by_name = {}, names = {}, prefix = prefix or "", has_defaults = false }
    for _, row in ipairs(rows) do
        local name = row[1]
        row.path = made.prefix .. name
        row.to = row.to or row.path:gsub("%.", "_")
        row.parse = row[2]
        made.by_name[name] = row
        if not (row.unbuilt or row.hidden) then
            made.names[#made.names + 1] = row.path
        end
        if row.rows then
            row.inner = schema.new(row.rows, row.path .. ".")
        end
        made.has_defaults = made.has_defaults or row.default ~= nil or row.inner ~= nil and row.inner.has_defaults
    end
    table.sort(made.names)
    return made
end

local function unknown(made, key, who)
    local shown = type(key) == "string" and made.prefix .. key or made.prefix .. "[" .. errors.show(key) .. "]"
    errors.misuse(1, "%s: unknown option %s; valid are: %s", who, shown, table.concat(made.names, ", "))
end

-- Raises: this option must be something else.
function schema.refuse(who, path, wanted, got)
    errors.misuse(1, "%s: %s must be %s, got %s", who, path, wanted, errors.show(got))
end

local read

local function read_group(row, value, who, out)
    if value == false and row.off then
        out[row.to] = false
        return
    elseif type(value) ~= "table" then
        schema.refuse(who, row.path, row.off and "a table or false" or "a table", value)
    end
    out[row.to] = true
    read(row.inner, value, who, out)
end

local function read_row(row, value, who, out)
    if row.unbuilt then
        if value ~= false then
            unbuilt.raise(row.unbuilt, row.path, who)
        end
    elseif row.inner then
        read_group(row, value, who, out)
    else
        local fine, result, got = row.parse(value)
        if not fine then
            schema.refuse(who, row.path, result, got == nil and value or got)
        end
        out[row.to] = result
    end
end

local function defaults(made, given, out)
    for _, row in ipairs(made.rows) do
        if rawget(given, row[1]) == nil then
            if row.inner then
                out[row.to] = row.default
                defaults(row.inner, {}, out)
            elseif row.default ~= nil then
                out[row.to] = row.default
            end
        end
    end
end

function read(made, given, who, out)
    for key, value in next, given do
        local row = made.by_name[key]
        if not row then
            unknown(made, key, who)
        end
        read_row(row, value, who, out)
    end
    if made.has_defaults then
        defaults(made, given, out)
    end
    return out
end

-- Reads `given` by the schema for the call `who` ("larder.open"); gives a new flat table.
function schema.read(made, given, who)
    if type(given) ~= "table" then
        errors.misuse(1, "%s: options must be a table, got %s", who, errors.show(given))
    end
    return read(made, given, who, {})
end

return schema
