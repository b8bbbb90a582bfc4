-- fill.lua - what was loaded, where the lease stands.  origin gen token version tombstone age asked ttl stale value
--
-- Refused where the lease is not the asker's (any more): it broke, it ended, the cell was evicted, all was invalidated. A missing lease refuses
-- the fill, never "set if absent": what was loaded may be older than a write that nobody remembers. Refused, too, where it
-- has a version that is below what is known, and where it is too large for Redis (value ''). The lease is over in any case where it was the asker's.
---- cell.lua
local gen, token, version, tombstone, value = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10]
local c = read()
if not c or c.lease ~= token then return reply(REFUSED, c, 0) end
c, gen = of_generation(c, gen)
unlease(c)
if c.gen ~= gen then
  keep(c, tombstone)
  return reply(REFUSED, c, 0)
end
if version ~= NONE and version < higher(c.version, c.floor) then
  keep(c, tombstone)
  return reply(REFUSED, c, 1)
end
if value == '' then
  keep(c, tombstone)
  return reply(REFUSED, c, 2)
end
if version == NONE then c.floor = higher(c.version, c.floor) end
c.version, c.value = version, true
local ms = expiry(c, ARGV[6], ARGV[7], ARGV[8], ARGV[9])
save(c, value, ms)
return reply(DONE, { version = version, floor = version })
