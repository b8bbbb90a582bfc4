-- unmark.lua - the write had no effect: its mark ends, what was held stands.  origin token
---- cell.lua
local c = read()
if c and unmark(c, ARGV[2]) then keep(c) end
return reply(DONE, c)
