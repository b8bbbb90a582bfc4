-- set.lua - what the source now has, after a write.  origin gen token version tombstone age asked ttl stale value
--
-- value '': nothing of it can be kept, and the cell becomes a tombstone with that version as its floor. Version 0: the source
-- has none; for a value one is drawn. It is taken
--   under the own mark, where it is not older than what is known, and all was not invalidated since;
--   under no mark or another's, where a value of a lower version is held and no newer one is known. Another's mark stays.
-- Where the cell is missing it stays missing: who was evicted meanwhile, an older one or a newer one, nobody knows.
-- Where it is not taken what is held must not be older than it: by version, or, without one, by forgetting. Then two writes
-- overlapped whose order nobody knows: the mark is poisoned, so that the other's set is not taken either.
-- In any case the own mark ends, and so does the lease (its holder may have asked the source before this write), and the others
-- hear that there is something new.
---- cell.lua
local gen, token, version, tombstone, value = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10]
local kind = value == '' and 'd' or 's'
local c
c, gen = of_generation(read(), gen)
if not c then
  ring(version == NONE and 'd' or kind, version)
  return reply(REFUSED, nil, 0)
end
local was_own, known = c.mark == token, higher(c.version, c.floor)
local own = was_own and c.gen == gen
local drawn = version == NONE and value ~= '' and own and draw(c) or version
local taken = own and (version == NONE and (value == '' or drawn ~= NONE) or version ~= NONE and version >= known)
  or not own and version ~= NONE and c.version ~= NONE and c.version < version and c.floor <= version
ring(version == NONE and not taken and 'd' or kind, drawn)
unlease(c)
if not unmark(c, token) and version == NONE and c.mark ~= ZERO then c.mark = poisoned(c.mark) end
if taken and value ~= '' then
  c.version, c.floor, c.gen, c.value = drawn, higher(drawn, known), gen, true
  save(c, value, expiry(c, ARGV[6], ARGV[7], ARGV[8], ARGV[9]))
  return reply(DONE, c)
end
if taken or version == NONE or c.version < version then forget(c) end
c.floor = higher(c.floor, version)
if not c.value then c.gone = true end
keep(c, tombstone)
return reply(taken and DONE or REFUSED, c, 1)
