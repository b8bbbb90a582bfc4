-- arguments.lua - arguments of a call as one string, so that two calls have the same string exactly when their
-- arguments are the same by type, value and number.
--
-- One letter a kind: z nil, t true, f false, u null, i integer, d double, s string with its length, { table with
-- its size and its pairs in order of their own strings. Numbers that are the same integer in Lua 5.4 and LuaJIT have
-- the same string in both. Tables are read raw.

local errors = require "larder.errors"

local arguments = {}

local DEEPEST = 100
local floor, type = math.floor, type
local math_type = math.type

local function double(x)
    if x ~= x then
        return "dnan;"
    end
    local text = ("%.17g"):format(x):gsub(",", ".") -- whatever the locale
    return "d" .. text .. ";"
end

local function number(x)
    if math_type then
        return math_type(x) == "integer" and ("i%d;"):format(x) or double(x)
    elseif floor(x) == x and x >= -2 ^ 53 and x <= 2 ^ 53 and (x ~= 0 or 1 / x > 0) then
        return ("i%d;"):format(x)
    end
    return double(x)
end

local encode

local function pairs_of(t, depth, null)
    local parts = {}
    for key, value in next, t do
        local left, wrong = encode(key, depth + 1, null)
        if not left then
            return nil, wrong
        end
        local right
        right, wrong = encode(value, depth + 1, null)
        if not right then
            return nil, wrong
        end
        parts[#parts + 1] = left .. right
    end
    table.sort(parts)
    return ("{%d;"):format(#parts) .. table.concat(parts)
end

local simple = {
    ["nil"] = function()
        return "z"
    end,
    boolean = function(value)
        return value and "t" or "f"
    end,
    number = number,
    string = function(value)
        return "s" .. #value .. ";" .. value
    end,
    cdata = function(value)
        local digits = tostring(value):match("^(-?%d+)LL$")
        return digits and "i" .. digits .. ";"
    end,
}

function encode(value, depth, null)
    local kind = type(value)
    if simple[kind] then
        local text = simple[kind](value)
        return text, not text and "a " .. kind
    elseif kind == "userdata" and value == null then
        return "u"
    elseif kind ~= "table" then
        return nil, errors.show(value)
    elseif depth > DEEPEST then
        return nil, "a table that is too deep, or contains itself"
    end
    return pairs_of(value, depth, null)
end

-- The string of the arguments (null: larder.null); or nil, the number of the one that cannot be a value, and what
-- it is.
function arguments.text(null, ...)
    local parts = {}
    for i = 1, select("#", ...) do
        local text, wrong = encode((select(i, ...)), 1, null)
        if not text then
            return nil, i, wrong
        end
        parts[i] = text
    end
    return table.concat(parts)
end

return arguments
