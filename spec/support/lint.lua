-- The rules of the house that no compiler knows. lint.lua RULE prints what it found and ends with 1 when that is
-- anything; lint.lua RULE title prints what the rule says. Run from the top of the checkout.

local rule_name, only_title = arg[1], arg[2] == "title"
local faults = 0

local function fault(...)
    faults = faults + 1
    print(string.format(...))
end

local function note(...)
    print("note: " .. string.format(...))
end

local function lines_of(command)
    local out = {}
    local pipe = assert(io.popen(command))
    for line in pipe:lines() do out[#out + 1] = line end
    pipe:close()
    return out
end

local function files(pattern, ...)
    return lines_of(("find %s -type f 2>/dev/null | grep -E '%s' | sort"):format(table.concat({ ... }, " "), pattern))
end

local function read(path)
    local f = io.open(path)
    if not f then return nil end
    local text = f:read "a"
    f:close()
    return text
end

-- ---- directions of includes --------------------------------------------------------------------------------

-- A room includes itself and rooms of a lower number; rooms with the same number do not know each other.
local order = {
    base = 0, meter = 1, record = 2, policy = 3, coherence = 3, guard = 3, wire = 3, bus = 3,
    l1 = 4, l2 = 4, source = 4, net = 4, flow = 5,
    upkeep = 6, ["."] = 7, host = 8, bind = 9,
}

local function room_of(path)
    if path:match "^core/include/" then return "include" end
    if path:match "^lua/bind/" then return "bind" end
    return path:match "^core/([^/]+)/" or "."
end

-- The path of an included header as it is written, relative to core/ (or lua/, or beside the file).
local function room_of_include(name, from)
    if name:match "^larder[%w_]*%.h$" then return "include" end
    return name:match "^([^/]+)/" or from
end

local function rooms()
    for _, path in ipairs(files("\\.(c|h|def)$", "core", "lua/bind")) do
        local from = room_of(path)
        if from ~= "include" and not order[from] then
            fault("%s: the room '%s' has no place in the order", path, from)
        end
        for name in read(path):gmatch '#%s*include%s*"([^"]+)"' do
            local to = room_of_include(name, from)
            if to ~= from and to ~= "include" and order[from] then
                if not order[to] then
                    fault("%s: includes \"%s\" from a room without a place in the order", path, name)
                elseif order[to] >= order[from] then
                    fault("%s: %s includes \"%s\", but %s is not below it", path, from, name, to)
                end
            end
            if from == "include" and to ~= "include" then fault("%s: a public header includes \"%s\"", path, name) end
        end
    end
end

-- ---- sizes -------------------------------------------------------------------------------------------------

local function sizes()
    for _, path in ipairs(files("\\.(c|h|lua|sh)$|Makefile$", "core", "lua", "spec", "examples", "Makefile")) do
        local _, n = read(path):gsub("\n", "")
        if n > 800 then fault("%s: %d lines, 800 is the limit", path, n)
        elseif n > 500 then note("%s: %d lines, 500 is the aim", path, n)
        end
    end
    for _, path in ipairs(files("\\.(c|lua)$", "examples")) do
        local _, n = read(path):gsub("\n", "")
        if n > 60 then fault("%s: %d lines, an example has 60 at most", path, n) end
    end
end

-- ---- comments ----------------------------------------------------------------------------------------------

local function comments()
    for _, path in ipairs(files("\\.(c|h|def)$", "core", "lua/bind")) do
        if not read(path):match "^/%*" then fault("%s: does not open with its duty in a comment", path) end
    end
    for _, path in ipairs(files("\\.lua$", "lua/larder")) do
        if not read(path):match "^%-%-" then fault("%s: does not open with its duty in a comment", path) end
    end
end

-- Every public function has a comment before it; functions in one block without a blank line share one.
local function header()
    for _, path in ipairs(files("\\.h$", "core/include")) do
        local covered, n = false, 0
        for line in (read(path) .. "\n"):gmatch "([^\n]*)\n" do
            n = n + 1
            if line:match "^%s*$" then covered = false end
            if line:match "^LDR_API" and not line:match "/%*" and not covered then
                fault("%s:%d: no comment before %s", path, n, line:match "([%w_]+)%(" or line)
            end
            if line:match "^/%*" or line:match "%*/%s*$" then covered = true end
        end
    end
end

-- ---- seeded bugs ----------------------------------------------------------------------------------------------

-- Each switch in the sources has its spec, and each line of the list its switch.
local function bugs()
    local listed, seeded = {}, {}
    for line in (read "spec/bugs.list" or ""):gmatch "[^\n]+" do
        local name = line:match "^([%w_]+)%s+%S"
        if name then listed[name] = true end
    end
    for _, path in ipairs(files("\\.(c|h)$", "core", "lua/bind")) do
        for name in read(path):gmatch "LDR_BUG_([%w_]+)" do
            seeded[name] = true
            if not listed[name] then fault("%s: LDR_BUG_%s is not in spec/bugs.list", path, name) end
        end
    end
    for name in pairs(listed) do
        if not seeded[name] then fault("spec/bugs.list: no source knows LDR_BUG_%s", name) end
    end
end

-- ---- docs --------------------------------------------------------------------------------------------------

local function public_names()
    local names = {}
    local function add(name, kind) names[#names + 1] = { name = name, kind = kind } end
    for _, path in ipairs(files("\\.h$", "core/include")) do
        for name in read(path):gmatch "\nLDR_API[^;]-(ldr_[%w_]+)%(" do add(name, "C function") end
    end
    for name in (read "core/meter/metrics.def" or ""):gmatch "\nX%(([%w_]+)" do add(name, "metric") end
    local ok, larder = pcall(require, "larder")
    if not ok then
        fault("require \"larder\" failed: %s", tostring(larder):match "[^\n]*")
        return names
    end
    for name in pairs(larder) do
        if type(name) == "string" and not name:match "^_" then add("larder." .. name, "Lua name") end
    end
    add(":get", "method")
    for name in pairs(require("larder.cache").verbs) do
        if not name:match "^_" then add(":" .. name, "method") end
    end
    return names
end

-- Mentioned: as a whole word; a method also as `name(`, since docs write cache:name( or c:name(.
local function mentions(text, name)
    local word = name:gsub("^:", ""):gsub("%p", "%%%0")
    return text:find("%f[%w_]" .. word .. "%f[^%w_]") ~= nil
end

local function docs()
    local text = read "docs/reference.md"
    if not text then return note("docs/reference.md is not there yet") end
    for _, path in ipairs(files("\\.md$", "docs")) do text = text .. read(path) end
    for _, public in ipairs(public_names()) do
        if not mentions(text, public.name) then fault("%s %s: in no page of docs/", public.kind, public.name) end
    end
end

-- ---- which one --------------------------------------------------------------------------------------------

local rules = {
    rooms = { "includes point downward only", rooms },
    sizes = { "no file above 800 lines, no example above 60", sizes },
    comments = { "every source opens with its duty", comments },
    header = { "every public C function has a comment", header },
    bugs = { "every seeded bug has its spec", bugs },
    docs = { "every public name is in the docs", docs },
}

local rule = assert(rules[rule_name], "no such rule")
if only_title then
    print(rule[1])
else
    rule[2]()
    os.exit(faults == 0 and 0 or 1)
end
