-- json.lua - writes one JSON text: what `larder ... --json` prints. Lists are tables with a first item; names are
-- sorted, so that equal answers are equal texts.

local json = {}

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
    ["\t"] = "\\t" }

local function quote(text)
    return '"' .. text:gsub('[%c"\\]', function(c)
        return escapes[c] or ("\\u%04x"):format(c:byte())
    end) .. '"'
end

local function number(n)
    if n ~= n or n == math.huge or n == -math.huge then
        return "null"
    elseif n == math.floor(n) and math.abs(n) < 2 ^ 53 then
        return ("%d"):format(n)
    end
    return (("%.9g"):format(n))
end

local encode

local function list(t, out)
    for i, value in ipairs(t) do
        out[#out + 1] = (i == 1 and "[" or ",") .. encode(value)
    end
    out[#out + 1] = "]"
end

local function map(t, out)
    local names = {}
    for name in pairs(t) do
        names[#names + 1] = name
    end
    table.sort(names)
    out[1] = "{"
    for i, name in ipairs(names) do
        out[#out + 1] = (i == 1 and "" or ",") .. quote(name) .. ":" .. encode(t[name])
    end
    out[#out + 1] = "}"
end

-- The text of a boolean, number, string, list or map. An empty table is a map.
function encode(value)
    local kind = type(value)
    if kind == "table" then
        local out = {}
        local write = value[1] ~= nil and list or map
        write(value, out)
        return table.concat(out)
    elseif kind == "number" then
        return number(value)
    elseif kind == "string" then
        return quote(value)
    end
    return tostring(value == nil and "null" or value)
end

json.encode = encode

return json
