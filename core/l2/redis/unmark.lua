-- unmark.lua - the write had no effect: its mark ends, what was held stands.  origin token
---- cell.lua
local c = read()
if c and c.mark == ARGV[2] then
  c.mark, c.m_end = ZERO, 0
  keep(c)
end
return reply(DONE, c)
