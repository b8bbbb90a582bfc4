-- drop.lua - forget: the value goes, a tombstone stays.  origin gen condition version tombstone token
--
-- A value of the version that is given or a later one stands, and so does all else: it is what the drop was sent for. Where
-- that was filled, which nobody is told, the others hear of the version, once: then it is the floor. (HDEL as DEL, below.)
-- condition: as in put.lua. The tombstone's floor is the highest version known, the given one too. The lease breaks; the own
-- mark ends. Another's stands, and its writer may still set a version that is not below the floor; where no version is given
-- nobody may: what he wrote may be of before what is forgotten here. It begins with DEL, which passes at maxmemory, and so
-- does then what follows. Others are told the version that was given: 0 makes them drop whatever they hold.
---- cell.lua
local condition, version = ARGV[3], ARGV[4]
local c = read()
if condition ~= '*' then
  c = of_generation(c, ARGV[2])
  local held = c and c.value
  if condition == '-' and held or #condition > 1 and not (held and c.version == condition) then
    return reply(CONFLICT, { version = held and c.version or NONE, floor = NONE })
  end
end
if version ~= NONE and ARGV[6] == ZERO and c and c.value and c.version >= version then
  if c.floor < version then
    redis.call('HDEL', bell, '')
    ring('d', version)
    redis.call('SETRANGE', key, 20, version)
  end
  return reply(DONE, c)
end
redis.call('DEL', key)
ring('d', version)
c = c or blank()
unlease(c)
forget(c)
c.floor = higher(c.floor, version)
if not unmark(c, ARGV[6]) and version == NONE and c.mark ~= ZERO then c.mark = poisoned(c.mark) end
if not says_nothing(c) then save(c, '', tonumber(ARGV[5]) / 1000) end
return reply(DONE, c)
