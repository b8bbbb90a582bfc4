-- migrate.lua - `larder migrate`: prints what a SQLite table needs for versions and for changes by other programs;
-- --apply does it, --undo takes back exactly what was done.

local config = require "larder.cli.config"
local json = require "larder.cli.json"
local sqlite = require "larder.sqlite"

local migrate = {}

function migrate.options(command)
    command:option("--config", "A Lua file that returns the table of larder.open."):argname "FILE"
    command:option("--model", "The model in it; needed when it has several."):argname "NAME"
    command:option("--dsn", "Instead of a config: sqlite:FILE (also from LARDER_DSN)."):argname "DSN"
    command:option("--table", "With --dsn: the table."):argname "T"
    command:option("--key", "With --dsn: a key column; repeated for several (default: id)."):argname "COLUMN":count "*"
    command:option("--version-column", "With --dsn: the version column (default: version)."):argname "COLUMN"
    command:flag("--changes", "The change table, too: then changes by other programs are noticed.")
    command:mutex(command:flag("--apply", "Do it."), command:flag("--undo", "Take it back."))
    command:flag("--json", "One JSON object.")
end

local function by_config(args)
    local src, model = config.model(args.config, args.model)
    if not src then
        return nil, model
    end
    return { file = src.file, table = model.table, key = model.key, version = model.version }
end

local function by_dsn(args, dsn)
    if dsn:find "^postgres" then
        return nil, "postgresql:// is not built yet (" .. require("larder")._VERSION .. "); built: sqlite:FILE"
    end
    local file = dsn:match "^sqlite:(.+)$"
    if not file then
        return nil, "--dsn must be sqlite:FILE, got " .. dsn:gsub("://[^/]*@", "://", 1)
    elseif not args.table then
        return nil, "--table is missing"
    end
    return { file = file, table = args.table, key = #args.key > 0 and args.key or nil, version = args.version_column }
end

-- What is to be migrated; nil and what is wrong with the command line.
local function what(args)
    local dsn = args.dsn or not args.config and os.getenv "LARDER_DSN"
    if args.config and args.dsn then
        return nil, "--config and --dsn exclude each other"
    elseif args.config then
        return by_config(args)
    elseif dsn then
        return by_dsn(args, dsn)
    end
    return nil, "give --config FILE, or --dsn sqlite:FILE --table T"
end

local DONE = { apply = "applied", undo = "undone" }

local function show(args, plan, sql)
    local nothing = sql:find "^%-%- nothing to do" ~= nil
    if args.json then
        print(json.encode { file = plan.file, table = plan.table, mode = plan.mode, nothing_to_do = nothing,
            sql = sql })
        return
    end
    io.stdout:write(sql)
    if DONE[plan.mode] and not nothing then
        io.stdout:write("-- ", DONE[plan.mode], ": ", plan.table, " in ", plan.file, "\n")
    end
end

-- Runs the command; gives the exit status.
function migrate.run(args)
    local plan, why = what(args)
    if not plan then
        io.stderr:write("larder migrate: ", why, "\n")
        return 2
    end
    plan.changes = args.changes or nil
    plan.mode = args.apply and "apply" or args.undo and "undo" or "print"
    local sql, err = sqlite.migrate(plan)
    if not sql then
        local unnamed = not plan.key and tostring(err):find('no column "id"', 1, true)
        io.stderr:write("larder migrate: ", tostring(err), unnamed and " (name the key with --key COLUMN)\n" or "\n")
        return 1
    end
    show(args, plan, sql)
    return 0
end

return migrate
