-- cli/init.lua - the command `larder`: finds the command that is meant, checks its options, runs it.
--
-- Exit status: 0 fine, 1 found trouble, 2 misuse. A command that is known but not built says so, with 2.

local unbuilt = require "larder.unbuilt"

local cli = {}

local ABOUT = {
    demo = "Replays a real trace on a shop in SQLite, without a cache and through each pattern; checks every value.",
    migrate = "Prints or applies what a SQLite table needs: versions, and with --changes the change table.",
    bench = "Measures; from a checkout only.",
}

local function fail(text, status)
    io.stderr:write(text, "\n")
    return status
end

local function parser_of(argparse)
    local missing, built = unbuilt.names "command"
    local parser = argparse("larder", "Larder: a cache in front of a database.",
        "Not built yet: " .. table.concat(missing, ", ") .. ".\nExit status: 0 fine, 1 found trouble, 2 misuse.")
    parser:command_target "command"
    parser:require_command(false)
    parser:flag("--version", "Prints the version.")
    local commands = {}
    for _, name in ipairs(built) do
        commands[name] = require("larder.cli." .. name)
        commands[name].options(parser:command(name, ABOUT[name]))
    end
    return parser, commands
end

-- Runs the command line `args` (a list of words); gives the exit status.
function cli.main(args)
    if args[1] and unbuilt.has("command", args[1]) then
        return fail(unbuilt.sentence("command", args[1]), 2)
    end
    local there, argparse = pcall(require, "argparse")
    if not there then
        return fail("larder: this command needs the Lua module argparse (Debian: lua-argparse)", 1)
    end
    local parser, commands = parser_of(argparse)
    local fine, given = parser:pparse(args)
    if not fine then
        return fail(parser:get_usage() .. "\n\nlarder: " .. tostring(given), 2)
    elseif given.version then
        print(require("larder")._VERSION)
        return 0
    elseif not given.command then
        return fail(parser:get_help(), 2)
    end
    return commands[given.command].run(given)
end

return cli
