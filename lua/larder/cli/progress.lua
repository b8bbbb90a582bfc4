-- progress.lua - how far a long piece of work has come: a bar that is drawn over on a terminal, one plain line a piece
-- elsewhere, nothing at all when it is silent.

local core = require "larder.core"

local progress = {}
progress.__index = progress

local EVERY = 0.1 -- seconds between two drawings

-- A progress on a screen (terminal.find); nil: silent.
function progress.new(screen)
    return setmetatable({ screen = screen, drawn = 0 }, progress)
end

function progress:start(title)
    self.title, self.began, self.drawn = title, core.now(), 0
    self:at(0)
end

local function bar(share, width, blocks)
    local full = math.floor(share * width + 0.5)
    local on, off = blocks and "\226\150\136" or "#", blocks and "\226\150\145" or "."
    return on:rep(full) .. off:rep(width - full)
end

-- So much of the work is done: 0 to 1.
function progress:at(share)
    local screen = self.screen
    if not screen or not screen.live or core.now() - self.drawn < EVERY then
        return
    end
    self.drawn = core.now()
    local width = math.max(10, math.min(40, screen.columns - 30))
    local percent = math.floor(share * 100)
    io.stdout:write(("\r%-18s %s %3d %%"):format(self.title, bar(share, width, screen.blocks), percent))
    io.stdout:flush()
end

-- The piece is done; `text` stands for it where there is no bar.
function progress:done(text)
    local screen = self.screen
    if not screen then
        return
    elseif screen.live then
        io.stdout:write "\r\27[K"
    else
        io.stdout:write(("%s: %s (%.1f s)\n"):format(self.title, text, core.now() - self.began))
    end
    io.stdout:flush()
end

return progress
