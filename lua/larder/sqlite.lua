--- A small SQLite binding: for examples, tests and tools; not a database library.
--
-- db:exec(sql) runs statements; db:query(sql, ...) gives a list of rows (tables by column name; NULL is left out);
-- db:prepare(sql) gives a statement with rows(...), run(...) and close(); db:changes(); db:close(). Values are always
-- bound. All give nil and a message when SQLite says no. Locks are waited for up to 5 s.
-- @module larder.sqlite

local core = require "larder.core"
local errors = require "larder.errors"
local schema = require "larder.schema"

local sqlite = {}

--- Opens a database file.
-- @tparam string file
-- @tparam[opt] table opts { create = true } makes the file when it is missing
-- @return the database, or nil and a message
function sqlite.open(file, opts)
    return core.sqlite(file, opts)
end

local function columns(value)
    local list = type(value) == "string" and { value } or type(value) == "table" and schema.strings(value)
    return list ~= nil and list ~= false and #list > 0, list or "a column's name or a list of them"
end

local migrate_schema = schema.new {
    { "file", schema.text(), doc = "the database file" },
    { "table", schema.text(), doc = "the table" },
    { "key", columns, doc = "the key column, or a list of them (default id)" },
    { "version", schema.text(), doc = "the version column (default version)" },
    { "changes", schema.boolean, doc = "the change table, too" },
    { "mode", schema.word { "print", "apply", "print_undo", "undo" }, default = "print", doc = "what to do" },
}

--- Makes a table ready for versions and, with `changes`, for changes by other programs; or takes that back.
-- @tparam table options file table key version changes mode ("print", "apply", "print_undo", "undo")
-- @return the SQL that does it, or nil and an error object
function sqlite.migrate(options)
    local o = schema.read(migrate_schema, options, "larder.sqlite.migrate")
    for _, name in ipairs { "file", "table" } do
        if not o[name] then
            schema.refuse("larder.sqlite.migrate", name, "a string", nil)
        end
    end
    local sql, code, message = core.migrate(o)
    if not sql then
        return nil, errors.new(code, message)
    end
    return sql
end

return sqlite
