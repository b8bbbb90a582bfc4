--- A small SQLite binding: for examples, tests and tools; not a database library.
--
-- db:exec(sql) runs statements; db:query(sql, ...) gives a list of rows (tables by column name; NULL is left out);
-- db:prepare(sql) gives a statement with rows(...), run(...) and close(); db:changes(); db:close(). Values are always
-- bound. All give nil and a message when SQLite says no. Locks are waited for up to 5 s.
-- @module larder.sqlite

local core = require "larder.core"

local sqlite = {}

--- Opens a database file.
-- @tparam string file
-- @tparam[opt] table opts { create = true } makes the file when it is missing
-- @return the database, or nil and a message
function sqlite.open(file, opts)
    return core.sqlite(file, opts)
end

return sqlite
