-- config.lua - a config file: Lua that returns the table of larder.open. Byte code is refused; errors name file and
-- line.

local source = require "larder.source"

local config = {}

-- The options in a file; nil and a message.
function config.read(name)
    local chunk, why = loadfile(name, "t")
    if not chunk then
        return nil, why
    end
    local fine, given = pcall(chunk, name)
    if not fine then
        return nil, tostring(given)
    elseif type(given) ~= "table" then
        return nil, name .. ": a config file must return the table of larder.open, got " .. type(given)
    end
    return given
end

local function names_of(models)
    local names = {}
    for i, model in ipairs(models) do
        names[i] = model.name
    end
    return table.concat(names, ", ")
end

-- The source of a config and its model of that name (the only one when no name is given); nil and a message.
function config.model(name, wanted)
    local given, why = config.read(name)
    if not given then
        return nil, why
    end
    local src = given.source
    if not source.is(src) or src.kind ~= "sqlite" then
        return nil, name .. ": its source must be a larder.source.sqlite"
    elseif not wanted and #src.models == 1 then
        return src, src.models[1]
    end
    for _, model in ipairs(src.models) do
        if model.name == wanted then
            return src, model
        end
    end
    local models = names_of(src.models)
    return nil, wanted and ("%s: no model %s; there are: %s"):format(name, wanted, models)
        or ("%s: name one of its models with --model: %s"):format(name, models)
end

return config
