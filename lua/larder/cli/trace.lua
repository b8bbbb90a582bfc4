-- trace.lua - reads an access trace: one request a line, `key` or `key size`, plain or gzipped (.gz).
--
-- Keys become dense numbers in order of first appearance; sizes are looked at for their form only.

local trace = {}

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The folder of Larder's Lua files, from where this file was loaded.
local function home()
    return debug.getinfo(1, "S").source:match "^@(.*)cli[/\\]trace%.lua$" or ""
end

local CARRIED = "cache2k-web12.txt.gz"

-- The file of the trace that Larder carries: in a checkout or beside the installed Lua files; nil where it is not.
function trace.carried()
    for _, folder in ipairs { home() .. "../../examples/data/", home() .. "data/" } do
        local file = io.open(folder .. CARRIED, "rb")
        if file then
            file:close()
            return folder .. CARRIED
        end
    end
    return nil
end

-- The lines of a pipe that ends with its status; nil and a message when that is not 0.
local function unzipped(name)
    local pipe = io.popen("{ gzip -dc -- " .. quote(name) .. "; echo \"# $?\"; } 2>/dev/null")
    local lines = {}
    for line in pipe:lines() do
        lines[#lines + 1] = line
    end
    pipe:close()
    if table.remove(lines) ~= "# 0" then
        return nil, name .. ": gzip could not read it"
    end
    return lines
end

local function plain(name)
    local file, why = io.open(name, "rb")
    if not file then
        return nil, why
    end
    local lines = {}
    for line in file:lines() do
        lines[#lines + 1] = line
    end
    file:close()
    return lines
end

local function lines_of(name)
    local file, why = io.open(name, "rb")
    if not file then
        return nil, why
    end
    local readable, wrong = file:read(0)
    file:close()
    if not readable and wrong then -- a folder, for example
        return nil, name .. ": " .. wrong
    elseif name:find "%.gz$" then
        return unzipped(name)
    end
    return plain(name)
end

-- The trace in a file: { name =, requests = { number, ... }, distinct = }; nil and a message when there is none.
function trace.read(name)
    local lines, why = lines_of(name)
    if not lines then
        return nil, why
    end
    local numbers, distinct = {}, 0
    for i, line in ipairs(lines) do
        local key = line:match "^(%S+)%s*$" or line:match "^(%S+)%s+%d+%s*$"
        if not key then
            return nil, ("%s:%d: not `key` or `key size`"):format(name, i)
        elseif not numbers[key] then
            distinct = distinct + 1
            numbers[key] = distinct
        end
        lines[i] = numbers[key]
    end
    if distinct == 0 then
        return nil, name .. ": no request in it"
    end
    return { name = name:match "([^/]+)$", requests = lines, distinct = distinct }
end

-- The first n requests of a trace, and how many keys they have.
function trace.cut(read, n)
    local few, distinct = {}, 0
    for i = 1, math.min(n, #read.requests) do
        few[i] = read.requests[i]
        distinct = math.max(distinct, few[i])
    end
    return few, distinct
end

return trace
