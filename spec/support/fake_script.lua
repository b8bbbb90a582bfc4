-- fake_script.lua - runs a server-side script of Redis in the Lua that runs the specs, as Redis' own Lua 5.1 would.
--
-- There every number is a double and is written with 14 digits (1700000000000000 .. "" is "1.7e+15"). Lua 5.4 has
-- integers, and writes 5.0 where 5.1 writes 5. So there a script's numerals become floats, each `..` goes through
-- `joint`, which writes numbers as 5.1 does, and the functions that give integers or write numbers have stand-ins,
-- those that strings have as methods and operators, too, while a script runs. What is left of integers (lengths,
-- positions) is small.
local sha1 = require "spec.support.sha1"

local script = {}
local is_54 = not rawget(_G, "jit")
local compile = rawget(_G, "loadstring") or load

-- ---- numbers and strings as in 5.1 ----------------------------------------------------------------------------------

local function text_of(value)
    if type(value) == "number" then
        return ("%.14g"):format(value)
    end
    return tostring(value)
end

local function number_of(value, base)
    if base and base ~= 10 and is_54 then
        local sum, text = 0.0, tostring(value):lower():match "^%s*(%w+)%s*$"
        for digit in (text or "~"):gmatch "." do
            local n = tonumber(digit, 36)
            if not n or n >= base then
                return nil
            end
            sum = sum * base + n
        end
        return sum
    end
    local n = tonumber(value)
    return n and n + 0.0
end

local function part(value)
    if type(value) ~= "string" and type(value) ~= "number" then
        error(("attempt to concatenate a %s value"):format(type(value)), 3)
    end
    return type(value) == "number" and text_of(value) or value
end

-- a .. joint .. b: from the right, joint takes b, then a takes both.
local joint = setmetatable({}, {})
local joined = {}
getmetatable(joint).__concat = function(_, b)
    return setmetatable({ part(b) }, joined)
end
joined.__concat = function(a, pair)
    return part(a) .. pair[1]
end

local function format(pattern, ...)
    local args, n, i = { ... }, select("#", ...), 0
    for spec in pattern:gsub("%%%%", ""):gmatch "%%[-+ #0]*%d*%.?%d*(%a)" do
        i = i + 1
        local value = args[i]
        if spec:find "[cdiouxX]" and tonumber(value) then
            value = tonumber(value)
            args[i] = value < 0 and math.ceil(value) or math.floor(value)
        elseif spec == "s" and type(value) == "number" then
            args[i] = text_of(value)
        end
    end
    return string.format(pattern, (table.unpack or unpack)(args, 1, n))
end

local function concat(list, between, from, to)
    local out = {}
    for i = from or 1, to or #list do
        local value = list[i]
        if type(value) ~= "string" and type(value) ~= "number" then
            error(("invalid value (%s) at index %d in table for 'concat'"):format(type(value), i), 2)
        end
        out[#out + 1] = type(value) == "number" and text_of(value) or value
    end
    return table.concat(out, between and part(between))
end

local function copy(from, more)
    local out = {}
    for name, value in pairs(from) do
        out[name] = value
    end
    for name, value in pairs(more) do
        out[name] = value
    end
    return out
end

-- The function that gsub replaces by may give a number.
local function gsub(text, pattern, by, n)
    local words = by
    if type(by) == "function" then
        words = function(...)
            local value = by(...)
            return type(value) == "number" and text_of(value) or value
        end
    elseif type(by) == "number" then
        words = text_of(by)
    end
    return string.gsub(text, pattern, words, n)
end

local strings = is_54 and copy(string, { format = format, gsub = gsub, pack = false, unpack = false }) or string
local tables = is_54 and copy(table, { concat = concat, pack = false, unpack = false, move = false }) or table
local maths = is_54 and copy(math, {
    floor = function(x) return math.floor(x) + 0.0 end,
    ceil = function(x) return math.ceil(x) + 0.0 end,
    pow = function(x, y) return x ^ y end,
    tointeger = false, type = false, ult = false, maxinteger = false, mininteger = false,
}) or math

local function operand(value)
    return number_of(value) or error(("attempt to perform arithmetic on a %s value"):format(type(value)), 3)
end

local operators = {
    __add = function(a, b) return operand(a) + operand(b) end,
    __sub = function(a, b) return operand(a) - operand(b) end,
    __mul = function(a, b) return operand(a) * operand(b) end,
    __div = function(a, b) return operand(a) / operand(b) end,
    __mod = function(a, b) return operand(a) % operand(b) end,
    __pow = function(a, b) return operand(a) ^ operand(b) end,
    __unm = function(a) return -operand(a) end,
    __index = strings,
}

-- fn(...) while strings behave as in 5.1.
local function among_strings_of_51(fn, ...)
    if not is_54 then
        return fn(...)
    end
    local meta, before = getmetatable "", {}
    for name, value in pairs(operators) do
        before[name] = meta[name]
        meta[name] = value
    end
    local function back(...)
        for name in pairs(operators) do
            meta[name] = before[name]
        end
        return ...
    end
    return back(fn(...))
end

-- ---- a script's text in 5.4 ----------------------------------------------------------------------------------------

local function float(numeral)
    if numeral:find "^0[xX]" then
        return ("%.1f"):format(tonumber(numeral))
    end
    return numeral:find "[.eE]" and numeral or numeral .. ".0"
end

-- The end of the token at `at`, and what stands for it; the order counts.
local tokens = {
    { "^%-%-%[(=*)%[.-%]%1%]" }, { "^%-%-[^\n]*" }, { "^%[(=*)%[.-%]%1%]" },
    { "^[%a_][%w_]*" }, { "^0[xX]%x+", float }, { "^%d+%.?%d*[eE][+-]?%d+", float }, { "^%d+%.?%d*", float },
    { "^%.%d+" }, { "^%.%.%." }, { "^%.%.", function() return " .. __joint .. " end }, { "^~=" }, { "^//", false },
    { "^<<", false }, { "^>>", false }, { "^[&|~]", false }, { "^%s+" }, { "^." },
}

local function string_end(text, at)
    local quote = text:sub(at, at)
    repeat
        at = text:find("[\\" .. quote .. "]", at + 1)
        local is_escape = at and text:sub(at, at) == "\\"
        at = is_escape and at + 1 or at
    until not is_escape
    return at or #text
end

local function token_at(text, at)
    if text:find("^[\"']", at) then
        local to = string_end(text, at)
        return to, text:sub(at, to)
    end
    for _, token in ipairs(tokens) do
        local _, to = text:find(token[1], at)
        if to and token[2] == false then
            error("user_script:1: unexpected symbol near '" .. text:sub(at, to) .. "'", 0)
        elseif to then
            local words = text:sub(at, to)
            return to, token[2] and token[2](words) or words
        end
    end
end

local function as_in_51(text)
    local out, at = {}, 1
    while at <= #text do
        local to, words = token_at(text, at)
        out[#out + 1] = words
        at = to + 1
    end
    return table.concat(out)
end

-- ---- what a script sees --------------------------------------------------------------------------------------------

-- What redis.call raised arrives as its words.
local function caught(fine, value, ...)
    if not fine and type(value) == "table" and value.err then
        value = value.err
    end
    return fine, value, ...
end

local function globals(call)
    local function reply(field)
        return function(text)
            return { [field] = field == "err" and text:gsub("^%-", "") or text }
        end
    end
    local redis = {
        call = function(...)
            local value = call(...)
            if type(value) == "table" and value.err then
                error(value, 0)
            end
            return value
        end,
        pcall = call, error_reply = reply "err", status_reply = reply "ok", sha1hex = sha1,
        log = function() end, LOG_DEBUG = 0.0, LOG_VERBOSE = 1.0, LOG_NOTICE = 2.0, LOG_WARNING = 3.0,
        replicate_commands = function() return true end,
    }
    return {
        redis = redis, string = strings, table = tables, math = maths, tonumber = is_54 and number_of or tonumber,
        tostring = is_54 and text_of or tostring, pairs = pairs, ipairs = ipairs, next = next, select = select,
        type = type,
        unpack = table.unpack or unpack, pcall = function(...) return caught(pcall(...)) end,
        error = error, assert = assert,
        rawget = rawget, rawset = rawset, rawequal = rawequal, getmetatable = getmetatable, setmetatable = setmetatable,
        __joint = joint,
    }
end

local function guarded(known)
    return setmetatable({}, {
        __index = function(_, name)
            local value = known[name]
            if value == nil then
                error(("Script attempted to access nonexistent global variable '%s'"):format(tostring(name)), 2)
            end
            return value
        end,
        __newindex = function()
            error("Attempt to modify a readonly table", 2)
        end,
    })
end

-- The function of a script's text; nil, why.
function script.compile(text)
    local fine, source = pcall(is_54 and as_in_51 or tostring, text)
    if not fine then
        return nil, source
    end
    return compile(source, "@user_script")
end

-- A main function's first upvalue is its _ENV.
local function with_globals(fn, env)
    if is_54 then
        debug.setupvalue(fn, 1, env)
        return fn
    end
    return rawget(_G, "setfenv")(fn, env)
end

-- ---- replies and values --------------------------------------------------------------------------------------------

-- A reply (as resp.lua has them) as a script's value.
function script.value_of(reply)
    if type(reply) == "number" then
        return reply + 0.0
    elseif type(reply) ~= "table" then
        return reply
    elseif reply.big then
        return tonumber(reply.big) + 0.0
    elseif reply.ok or reply.err then
        return { ok = reply.ok, err = reply.err }
    end
    local list = {}
    for i = 1, reply.n do
        list[i] = script.value_of(reply[i])
    end
    return list
end

local function integer(x)
    if x ~= x or x >= 2 ^ 63 or x < -2 ^ 63 then
        return { big = "-9223372036854775808" }
    end
    x = x < 0 and math.ceil(x) or math.floor(x)
    return math.abs(x) < 2 ^ 53 and x or { big = ("%.0f"):format(x) }
end

-- What a script returned as a reply.
function script.reply_of(value)
    local kind = type(value)
    if kind == "number" then
        return integer(value)
    elseif kind == "string" then
        return value
    elseif kind == "boolean" then
        return value and 1
    elseif kind ~= "table" then
        return false
    elseif type(value.err) == "string" then
        return { err = value.err }
    elseif type(value.ok) == "string" then
        return { ok = value.ok }
    end
    local list = { n = 0 }
    while value[list.n + 1] ~= nil do
        list.n = list.n + 1
        list[list.n] = script.reply_of(value[list.n])
    end
    return list
end

-- Runs what compile gave: call(...) answers redis.pcall with a script's value; keys and argv are lists of strings.
function script.run(fn, call, keys, argv, sha)
    local known = globals(call)
    known.KEYS, known.ARGV = keys, argv
    local fine, value = among_strings_of_51(pcall, with_globals(fn, guarded(known)))
    if fine then
        return script.reply_of(value)
    end
    local why = type(value) == "table" and value.err or "ERR " .. tostring(value)
    return { err = ("%s script: %s, on @user_script:1."):format(why, sha) }
end

return script
