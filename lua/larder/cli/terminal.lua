-- terminal.lua - what standard output can show: a bar that is drawn over, colours, block characters; and how wide.

local terminal = {}

local function succeeds(command)
    local status = os.execute(command)
    return status == true or status == 0
end

local function utf8_locale()
    for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
        local value = os.getenv(name)
        if value and value ~= "" then
            return value:lower():find "utf%-?8" ~= nil
        end
    end
    return false
end

local function columns()
    local given = tonumber(os.getenv "COLUMNS" or "")
    if not given then
        local pipe = io.popen "stty size 2>/dev/null </dev/tty"
        given = pipe and tonumber((pipe:read "*a"):match "^%d+ (%d+)")
        if pipe then
            pipe:close()
        end
    end
    return given and given >= 20 and math.floor(given) or 80
end

-- { live = a bar can be drawn, colour =, blocks =, columns = }
function terminal.find()
    local is_terminal = succeeds "test -t 1"
    local live = is_terminal and os.getenv "TERM" ~= "dumb"
    return {
        live = live,
        colour = live and (os.getenv "NO_COLOR" or "") == "",
        blocks = utf8_locale(),
        columns = live and columns() or 80,
    }
end

local codes = { bold = "1", dim = "2", red = "31", green = "32" }

-- The text in a colour, where there are colours.
function terminal.paint(screen, colour, text)
    return screen.colour and "\27[" .. codes[colour] .. "m" .. text .. "\27[0m" or text
end

return terminal
