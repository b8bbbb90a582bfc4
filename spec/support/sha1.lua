-- sha1.lua - SHA-1 (RFC 3174), for the fake Redis alone: a script's name is its hash.
local band, bor, bxor, bnot, rol

if rawget(_G, "jit") then
    local bit = require "bit"
    band, bor, bxor, bnot, rol = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rol
else
    local compile = rawget(_G, "load")
    band, bor, bxor, bnot, rol = compile [[
        return function(a, b) return a & b end, function(a, b) return a | b end, function(a, b) return a ~ b end,
            function(a) return ~a & 0xffffffff end,
            function(a, n) a = a & 0xffffffff return (a << n | a >> 32 - n) & 0xffffffff end
    ]]()
end

local function word(n)
    return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- The function and the constant of a round's quarter.
local function quarter(t, b, c, d)
    if t < 20 then
        return bor(band(b, c), band(bnot(b), d)), 0x5a827999
    elseif t < 40 then
        return bxor(bxor(b, c), d), 0x6ed9eba1
    elseif t < 60 then
        return bor(bor(band(b, c), band(b, d)), band(c, d)), 0x8f1bbcdc
    end
    return bxor(bxor(b, c), d), 0xca62c1d6
end

local function schedule(text, at)
    local w = {}
    for t = 0, 15 do
        local a, b, c, d = text:byte(at + 4 * t, at + 4 * t + 3)
        w[t] = a * 16777216 + b * 65536 + c * 256 + d
    end
    for t = 16, 79 do
        w[t] = rol(bxor(bxor(w[t - 3], w[t - 8]), bxor(w[t - 14], w[t - 16])), 1)
    end
    return w
end

local function block(h, text, at)
    local w = schedule(text, at)
    local a, b, c, d, e = h[1], h[2], h[3], h[4], h[5]
    for t = 0, 79 do
        local f, k = quarter(t, b, c, d)
        local sum = (rol(a, 5) % 4294967296 + f % 4294967296 + e % 4294967296 + k + w[t] % 4294967296) % 4294967296
        a, b, c, d, e = sum, a, rol(b, 30) % 4294967296, c, d
    end
    local new = { a, b, c, d, e }
    for i = 1, 5 do
        h[i] = (h[i] + new[i]) % 4294967296
    end
end

-- 40 hex digits, lower case.
return function(text)
    local h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 }
    local n = #text
    text = text .. "\128" .. ("\0"):rep((55 - n) % 64) .. word(math.floor(n / 536870912)) .. word(n * 8 % 4294967296)
    for at = 1, #text, 64 do
        block(h, text, at)
    end
    return ("%08x%08x%08x%08x%08x"):format(h[1], h[2], h[3], h[4], h[5])
end
