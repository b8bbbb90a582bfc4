-- put.lua - a write of the tiers alone.  origin gen condition version tombstone age asked ttl stale value unnumbered
--
-- condition: '*' none, '-' nothing may be held, or the version that must be held. A version that is given must not be below
-- what is known; where none is given one is drawn. unnumbered: what is drawn is only given back, for the source has numbers of
-- its own. The lease breaks; marks of writes to the source stand. value '': nothing of it can be kept.
---- cell.lua
local gen, condition, version, tombstone, value = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10]
local c
c, gen = of_generation(read(), gen)
local held = c and c.value
if condition == '-' and held or #condition > 1 and not (held and c.version == condition) then
  return reply(CONFLICT, { version = held and c.version or NONE, floor = NONE })
end
c = c or blank()
local known = higher(c.version, c.floor)
if version ~= NONE and version < known then return reply(CONFLICT, c) end
local drawn = version == NONE and draw(c) or version
if drawn == NONE then return reply(CONFLICT, c) end
local counts = version ~= NONE or ARGV[11] ~= '1'
ring(value == '' and 'd' or 's', counts and drawn or NONE)
unlease(c)
forget(c)
c.floor = counts and drawn or known
if value == '' then
  save(c, '', tonumber(tombstone) / 1000)
else
  c.version, c.gen, c.value = counts and drawn or NONE, gen, true
  save(c, value, expiry(c, ARGV[6], ARGV[7], ARGV[8], ARGV[9]))
end
return reply(DONE, { version = drawn, floor = drawn })
