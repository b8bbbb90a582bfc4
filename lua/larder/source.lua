-- source.lua - where the truth is: larder.source.sqlite, functions, postgres give checked descriptions.
--
-- A description is plain data (and the user's functions), copied from what the user gave; nothing is opened here.
--   sqlite:    { kind = "sqlite", file, timeout, models = { { name, table, key = {...}, version, updated_at,
--                columns = {...}, sql = { load, store, delete, version } }, ... sorted by name } }
--   functions: { kind = "functions", timeout, load, load_many, store, delete, version }

local errors = require "larder.errors"
local schema = require "larder.schema"
local unbuilt = require "larder.unbuilt"

local source = {}

local mt = { __name = "larder.source" }

-- Was this made by one of the functions here?
function source.is(t)
    return type(t) == "table" and getmetatable(t) == mt
end

-- Can this source take writes?
function source.can_store(s)
    return s.kind == "sqlite" or s.store ~= nil
end

local DEFAULT_TIMEOUT = 5

local function names(value)
    if type(value) == "table" then
        local list = schema.strings(value)
        for _, name in ipairs(list or {}) do
            if not schema.text()(name) then
                list = nil
            end
        end
        return list ~= nil, list or "a list of column names"
    end
    local fine, result = schema.text()(value)
    return fine, fine and { result } or result .. ", or a list of them"
end

local function models(value)
    if type(value) ~= "table" then
        return false, "a table of models"
    elseif next(value) == nil then
        return false, "a table with at least one model"
    end
    return true, value
end

local sql_statement = schema.text()

local model_schema = schema.new {
    { "table", schema.text(), doc = "the table or view of the rows" },
    { "key", names, doc = "the key column, or a list of them in the order of the key's parts (default id)" },
    { "version", schema.text(), doc = "the version column; none: strong reads load each time" },
    { "updated_at", schema.text(), doc = "a column with the time of the last change" },
    { "columns", names, doc = "the columns of a row (default all)" },
    { "sql", rows = {
        { "load", sql_statement, doc = "own statement that gives the row" },
        { "store", sql_statement, doc = "own statement that writes the row and gives it back" },
        { "delete", sql_statement, doc = "own statement that removes the row" },
        { "version", sql_statement, doc = "own statement that gives the version" },
    }, doc = "own statements instead of the made ones" },
}

local sqlite_schema = schema.new {
    { "file", schema.text(), doc = "the database file; it must exist" },
    { "models", models, doc = "the models by name" },
    { "timeout", schema.some_seconds, default = DEFAULT_TIMEOUT, unit = "s", doc = "how long a statement may take" },
}

local functions_schema = schema.new {
    { "load", schema.callable, doc = "load(key) -> value [, err [, opts]]" },
    { "load_many", schema.callable, doc = "load_many(keys) -> values_by_key [, errs_by_key [, opts_by_key]]" },
    { "store", schema.callable, doc = "store(key, value, if_version) -> version or true, or nil, err" },
    { "delete", schema.callable, doc = "delete(key, if_version) -> version or true, or nil, err" },
    { "version", schema.callable, doc = "version(key) -> version, or nil when absent" },
    { "timeout", schema.some_seconds, default = DEFAULT_TIMEOUT, unit = "s", doc = "how long a call may take" },
}

source.schemas = { sqlite = sqlite_schema, functions = functions_schema, model = model_schema }

local SQL_VERBS = { "load", "store", "delete", "version" }

-- The given statements as a table, or nil.
local function own_sql(flat)
    local sql
    for _, verb in ipairs(SQL_VERBS) do
        local statement = flat["sql_" .. verb]
        if statement then
            sql = sql or {}
            sql[verb] = statement
        end
    end
    return sql
end

local function read_model(name, given, who)
    if type(name) ~= "string" or name == "" or name:find("[:%%%z]") then
        errors.misuse(1, "%s: a model's name must be a string without : and %%, got %s", who, errors.show(name))
    end
    local at = who .. ": models." .. name
    local flat = schema.read(model_schema, given, at)
    if not flat.table then
        schema.refuse(at, "table", "the name of a table", nil)
    end
    return { name = name, table = flat.table, key = flat.key or { "id" }, version = flat.version,
        updated_at = flat.updated_at, columns = flat.columns, sql = own_sql(flat) }
end

local function read_models(given, who)
    local list = {}
    for name, model in next, given do
        list[#list + 1] = read_model(name, model, who)
    end
    table.sort(list, function(a, b)
        return a.name < b.name
    end)
    return list
end

-- A SQLite database: { file =, models = { name = { table =, key =, ... } }, timeout = }.
function source.sqlite(given)
    local who = "larder.source.sqlite"
    local flat = schema.read(sqlite_schema, given, who)
    if not flat.file then
        schema.refuse(who, "file", "the name of a database file", nil)
    elseif not flat.models then
        schema.refuse(who, "models", "a table of models", nil)
    end
    return setmetatable({ kind = "sqlite", file = flat.file, timeout = flat.timeout,
        models = read_models(flat.models, who) }, mt)
end

-- The user's own functions: { load =, load_many =, store =, delete =, version =, timeout = }.
function source.functions(given)
    local who = "larder.source.functions"
    local flat = schema.read(functions_schema, given, who)
    if not flat.load and not flat.load_many then
        schema.refuse(who, "load (or load_many)", "a function", nil)
    end
    flat.kind = "functions"
    return setmetatable(flat, mt)
end

-- Not built yet.
source.postgres = unbuilt.raiser("source", "postgres")

return source
