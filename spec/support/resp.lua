-- resp.lua - Redis' protocol for the test bed: requests written, replies read and written, in pure Lua.
--
-- A reply as a Lua value: a status is {ok = "OK"}, an error {err = "ERR ..."}, an integer a number, a bulk a string,
-- an array a table with n, nil (bulk or array) false. An integer that a double does not hold is {big = "its digits"}.
local resp = {}

function resp.encode(...)
    local n = select("#", ...)
    local out = { "*" .. n .. "\r\n" }
    for i = 1, n do
        local text = select(i, ...)
        text = type(text) == "number" and ("%.17g"):format(text) or text
        out[#out + 1] = "$" .. #text .. "\r\n" .. text .. "\r\n"
    end
    return table.concat(out)
end

local function integer(digits)
    local n = tonumber(digits)
    if n and math.abs(n) >= 2 ^ 53 then
        return { big = digits }
    end
    return n
end

local read = {}

read["+"] = function(line, _, at)
    return { ok = line }, at
end

read["-"] = function(line, _, at)
    return { err = line }, at
end

read[":"] = function(line, _, at)
    return integer(line), at
end

read["$"] = function(line, bytes, at)
    local n = tonumber(line)
    if n < 0 then
        return false, at
    end
    if #bytes < at + n + 1 then
        return nil
    end
    return bytes:sub(at, at + n - 1), at + n + 2
end

read["*"] = function(line, bytes, at)
    local n = tonumber(line)
    if n < 0 then
        return false, at
    end
    local list = { n = n }
    for i = 1, n do
        local value, next_at = resp.decode(bytes, at)
        if value == nil then
            return nil
        end
        list[i], at = value, next_at
    end
    return list, at
end

-- The reply that begins at `at` (1 where nothing is given), and where the next one begins; nil: it is not whole.
-- Raises where the bytes are no reply.
function resp.decode(bytes, at)
    at = at or 1
    local from, to = bytes:find("\r\n", at, true)
    if not from then
        return nil
    end
    local reader = read[bytes:sub(at, at)]
    if not reader then
        error(("no reply: %q"):format(bytes:sub(at, at + 40)), 0)
    end
    return reader(bytes:sub(at + 1, from - 1), bytes, to + 1)
end

-- All whole replies of the bytes.
function resp.decode_all(bytes)
    local list, at = {}, 1
    while at <= #bytes do
        local value, next_at = resp.decode(bytes, at)
        assert(value ~= nil, "the last reply is not whole")
        list[#list + 1], at = value, next_at
    end
    return list
end

local function digits(n)
    return ("%.0f"):format(n < 0 and math.ceil(n) or math.floor(n)):gsub("^%-0$", "0")
end

-- The bytes of a reply.
function resp.write(value)
    local kind = type(value)
    if kind == "number" then
        return ":" .. digits(value) .. "\r\n"
    elseif kind == "string" then
        return "$" .. #value .. "\r\n" .. value .. "\r\n"
    elseif not value then
        return "$-1\r\n"
    elseif value.err then
        return "-" .. value.err .. "\r\n"
    elseif value.ok then
        return "+" .. value.ok .. "\r\n"
    elseif value.big then
        return ":" .. value.big .. "\r\n"
    end
    local out = { "*" .. (value.n or #value) .. "\r\n" }
    for i = 1, value.n or #value do
        out[#out + 1] = resp.write(value[i])
    end
    return table.concat(out)
end

-- For eyes, and for comparing: one line of text.
function resp.show(value)
    if type(value) == "string" then
        return ("%q"):format(value):gsub("\\\n", "\\n")
    elseif type(value) ~= "table" then
        return value and ("%.17g"):format(value) or "nil"
    elseif value.err or value.ok or value.big then
        return value.err and "-" .. value.err or value.ok and "+" .. value.ok or value.big
    end
    local out = {}
    for i = 1, value.n or #value do
        out[i] = resp.show(value[i])
    end
    return "[" .. table.concat(out, " ") .. "]"
end

return resp
