-- release.lua - the lease is over and there is no value.  origin token
---- cell.lua
local c = read()
if c and c.lease == ARGV[2] then
  unlease(c)
  keep(c)
end
return reply(DONE, c)
