-- errors.lua - failures as values, and misuse as errors that point at the user's line.
--
-- Run-time trouble is an object { code, message, cause } with a stable word as its code; it is returned, never
-- raised. Misuse is raised as a string: whatever the depth inside Larder, the position is that of the nearest
-- line on the stack which is not Larder's own.

local errors = {}

local mt = { __name = "larder.error" }

function mt.__tostring(e)
    return tostring(e.code) .. ": " .. tostring(e.message)
end

function mt.__concat(a, b)
    return tostring(a) .. tostring(b)
end

-- A new error object. `fields` (optional) adds more of them: version, errs, remaining, traceback.
function errors.new(code, message, cause, fields)
    local e = { code = code, message = message, cause = cause }
    for name, value in pairs(fields or {}) do
        e[name] = value
    end
    return setmetatable(e, mt)
end

function errors.is(e)
    return type(e) == "table" and getmetatable(e) == mt
end

-- Chunks of Larder are those beside this file; a stripped build (no file names) counts as C.
local here = debug.getinfo(1, "S").source
local home = here:match("^(@.*[/\\])errors%.lua$")

local function is_ours(info)
    if info.what == "C" or info.currentline < 0 then
        return true
    end
    return home ~= nil and info.source:sub(1, #home) == home
end

-- "file:line: " of the nearest line from `level` outward that is not Larder's own; "" when there is none.
-- Level 1 is the function that called `where`.
function errors.where(level)
    level = level + 1
    local info = debug.getinfo(level, "Sl")
    while info do
        if not is_ours(info) then
            return ("%s:%d: "):format(info.short_src, info.currentline)
        end
        level = level + 1
        info = debug.getinfo(level, "Sl")
    end
    return ""
end

-- Raises misuse at the user's line. The search begins at `level`: 1, the caller of this function, is always right.
function errors.misuse(level, fmt, ...)
    local text = select("#", ...) > 0 and fmt:format(...) or fmt
    error(errors.where(level + 1) .. text, 0)
end

-- The text of anything that can be raised: never fails, whatever __tostring does.
function errors.text(e)
    if type(e) == "string" then
        return e
    end
    local fine, text = pcall(tostring, e)
    if fine and type(text) == "string" then
        return text
    end
    return "(a " .. type(e) .. " that cannot be shown)"
end

local function trace(text, level)
    local fine, traced = pcall(debug.traceback, text, level)
    return fine and type(traced) == "string" and traced or text
end

-- A message handler for xpcall around loaders and handlers: an error object with the code `loader`, the text and
-- the traceback as its message, and what was raised as its cause.
function errors.handler(e)
    return errors.new("loader", trace(errors.text(e), 3), e)
end

-- What xpcall gave with the handler above, as an error object: out of memory, Lua calls no handler.
function errors.caught(e)
    return errors.is(e) and e or errors.new("loader", errors.text(e), e)
end

-- The text of an error with the traceback of the coroutine that died of it.
function errors.trace_of(co, e)
    local text = errors.text(e)
    local fine, traced = pcall(debug.traceback, co, text)
    return fine and type(traced) == "string" and traced or text
end

local shown = { ["nil"] = "nil", boolean = "a boolean", number = "a number", string = "a string",
    table = "a table", ["function"] = "a function", userdata = "a userdata", thread = "a coroutine" }

local function show_string(s)
    local text = #s > 40 and s:sub(1, 40) .. "..." or s
    text = text:gsub("[%c\127-\255\\\"]", function(c)
        return ("\\x%02x"):format(c:byte())
    end)
    return '"' .. text .. '"'
end

-- What was got, for a message: numbers, booleans and short strings as they are, else the type.
function errors.show(value)
    local kind = type(value)
    if kind == "string" then
        return show_string(value)
    elseif kind == "number" and value ~= value then
        return "NaN"
    elseif kind == "number" or kind == "boolean" then
        return tostring(value)
    end
    return shown[kind] or "a " .. kind
end

return errors
