-- bench.lua - `larder bench`: runs the benches of the checkout that this file belongs to.

local bench = {}

function bench.options(command)
    command:argument("name", "Only these benches."):args "*"
    command:option("--peers", "A folder with originals that no package carries."):argname "FOLDER"
end

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The checkout's top, or nil where these files are installed.
local function checkout()
    local home = debug.getinfo(1, "S").source:match "^@(.*)lua[/\\]larder[/\\]cli[/\\]bench%.lua$"
    local file = home and io.open(home .. "spec/support/bench.sh")
    if file then
        file:close()
    end
    return file and (home == "" and "." or home)
end

-- Runs the command; gives the exit status.
function bench.run(args)
    local top = checkout()
    if not top then
        io.stderr:write "larder bench: needs a checkout of Larder; there, `make bench` does the same\n"
        return 2
    end
    local command = ("make --no-print-directory -C %s bench ONLY=%s"):format(quote(top),
        quote(table.concat(args.name, " ")))
    if args.peers then
        command = command .. " PEERS=" .. quote(args.peers)
    end
    local status = os.execute(command)
    return (status == true or status == 0) and 0 or 1
end

return bench
