-- renew.lua - the lease lives longer, from now.  origin token us
--
-- One that has ended is not renewed, even where nobody took it: a fill under it would be refused too.
---- cell.lua
local c = read()
if not c or c.lease ~= ARGV[2] then return reply(REFUSED, c, 0) end
c.l_end = now + ARGV[3]
keep(c)
return reply(DONE, c)
