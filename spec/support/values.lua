-- values.lua - values drawn from a seed, the same ones in Lua 5.4 and LuaJIT, and what "equal" means for them.
--
-- Two numbers differ in kind between the Luas and in nothing else: an integer beyond +-2^53 is an int64_t cdata in
-- LuaJIT, and a float with an integral value is an integer there (so `same` compares those by value alone).
local M = {}

local is_jit = rawget(_G, "jit") ~= nil
local ffi = is_jit and require "ffi"
local mathtype = math.type or function(x)
    return type(x) == "number" and "float" or nil
end

--- The integer hi * 2^32 + lo, exactly.
if is_jit then
    function M.int64(hi, lo)
        return ffi.new("int64_t", hi) * ffi.new("int64_t", 4294967296) + ffi.new("int64_t", lo)
    end
else
    function M.int64(hi, lo)
        return hi * 4294967296 + lo
    end
end

local Draw = {}
Draw.__index = Draw

function M.new(seed, null)
    local draw = setmetatable({ x = seed % 2147483646 + 1, null = null }, Draw)
    draw:below(2)
    return draw
end

--- An integer from 0 to n - 1 (Lehmer's generator; every product stays below 2^53).
function Draw:below(n)
    self.x = self.x * 48271 % 2147483647
    return math.floor(self.x / 8) % n
end

function Draw:bytes(n)
    local t = {}
    for i = 1, n do
        t[i] = string.char(self:below(256))
    end
    return table.concat(t)
end

local edges = { 0, 1, -1, 127, 128, 255, 256, -32, -33, -128, -129, 65535, 65536, -32768, -32769, 2147483647,
    2147483648, -2147483648, -2147483649, 4294967295, 4294967296, 9007199254740991, 9007199254740992,
    -9007199254740992 }
local floats = { 0 / 0, 1 / 0, -1 / 0, -0.0, 0.1, -2.5, 1e300, 5e-324, 2.0 ^ 53, 2.0 ^ 60, 2.0 ^ 63, -2.0 ^ 63, 3.0,
    1.7976931348623157e308 }

local scalars = {
    function(d) return d:below(2) == 1 end,
    function(d) return d:below(1000) - 500 end,
    function(d) return edges[d:below(#edges) + 1] end,
    function(d) return floats[d:below(#floats) + 1] end,
    function(d) return (d:below(1000000) - 500000) / 1024 + 1 / 4096 end,
    function(d)
        local hi = d:below(2145386496) + 2097153
        return M.int64(d:below(2) == 1 and hi or -hi, d:below(268435456) * 16 + d:below(16))
    end,
    function(d) return d:bytes(d:below(40)) end,
    function(d) return d:below(50) == 0 and d:bytes(70):rep(1000) or d:bytes(d:below(300)) end,
    function(d) return d.null end,
}

local keys = {
    function(d) return d:bytes(d:below(12)) end,
    function(d) return "field" .. d:below(20) end,
    function(d) return d:below(30) - 10 end,
    function(d) return edges[d:below(#edges) + 1] end,
    function(d) return d:below(1000) + 0.5 end,
    function(d) return d:below(2) == 1 end,
}

local tables = {
    function() return {} end,
    function(d, depth) -- an array
        local t = {}
        for i = 1, d:below(20) + 1 do
            t[i] = d:value(depth + 1)
        end
        return t
    end,
    function(d, depth) -- an array with holes
        local t = {}
        for _ = 1, d:below(10) + 1 do
            t[d:below(30) + 1] = d:value(depth + 1)
        end
        return t
    end,
    function(d, depth) -- a record
        local t = {}
        for _ = 1, d:below(10) do
            t["f" .. d:below(100)] = d:value(depth + 1)
        end
        return t
    end,
    function(d, depth) -- any keys
        local t = {}
        for _ = 1, d:below(10) do
            local key = keys[d:below(#keys) + 1](d)
            t[key] = d:value(depth + 1)
        end
        return t
    end,
}

--- The next value.
function Draw:value(depth)
    depth = depth or 0
    if self:below(10) < (depth == 0 and 8 or 3) and depth < 5 then
        return tables[self:below(#tables) + 1](self, depth)
    end
    return scalars[self:below(#scalars) + 1](self)
end

local function same_number(a, b, loose)
    if a ~= a or b ~= b then
        return a ~= a and b ~= b
    end
    if a ~= b or (not loose and mathtype(a) ~= mathtype(b)) then
        return false
    end
    return a ~= 0 or loose or 1 / a == 1 / b
end

--- Equal, of equal type; loose: as read by one Lua from bytes of the other.
function M.same(a, b, loose)
    if type(a) ~= type(b) then
        return false
    elseif type(a) == "number" then
        return same_number(a, b, loose)
    elseif type(a) ~= "table" then
        return a == b
    end
    for k, v in next, a do
        if b[k] == nil or not M.same(v, b[k], loose) then
            return false
        end
    end
    for k in next, b do
        if a[k] == nil then
            return false
        end
    end
    return true
end

--- Writes n values as lines: length in decimal, newline, bytes.
function M.write(file, codec, seed, n)
    local draw = M.new(seed, codec.null)
    for _ = 1, n do
        local bytes = assert(codec.encode(draw:value()))
        file:write(#bytes, "\n", bytes)
    end
end

--- Reads them back and compares with what the seed gives here; gives how many were equal.
function M.read(file, codec, seed, n)
    local draw = M.new(seed, codec.null)
    for i = 1, n do
        local expected = draw:value()
        local bytes = file:read(assert(tonumber(file:read("*l"))))
        local value, code, message = codec.decode(bytes)
        if code or not M.same(expected, value, true) then
            return nil, ("value %d of seed %d: %s"):format(i, seed, message or "not equal")
        end
    end
    return n
end

-- Run as a program: lua values.lua SEED N FILE writes a file for the other Lua.
if arg and arg[0] and arg[0]:match("values%.lua$") then
    package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
    local file = assert(io.open(arg[3], "wb"))
    M.write(file, require "codec", assert(tonumber(arg[1])), assert(tonumber(arg[2])))
    file:close()
end

return M
