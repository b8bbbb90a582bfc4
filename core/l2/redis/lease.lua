-- lease.lua - a look-up gave nothing fresh: look again, and take the lease.  origin gen token us force bad tombstone
--
-- In this order: what a write is changing is given to nobody (MARKED: load, do not fill); what somebody filled meanwhile is
-- HELD, unless the asker must have a new one (force) or could not read it (bad); another's lease that stands is TAKEN, and
-- its holder will be asked to say when it is over. Else the lease is the asker's. The same asker again gets it again. A value
-- that is stale stays, for who fails to load. No lease is given on what was not read.
local gen, token, us, force, bad, tombstone = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1', ARGV[7]
local held = redis.pcall('GET', key)
if not held and gen:byte(1) ~= 63 then -- as below; a miss most often finds nothing
  local times = ZERO .. ZERO .. gen
  redis.call('SET', key, '1' .. NONE .. NONE .. token .. string.format('%016d', now + us) .. ZERO .. ZERO .. '0' .. times .. times,
    'PX', math.ceil(us / 1000) + 1000)
  return { LEASED, now, NONE, 0, 0 }
end
---- cell.lua
local c
c, gen = of_generation(open(held), gen)
if c and bad then forget(c) end
if c and c.mark ~= ZERO then return reply(MARKED, c, 0, true) end
if c and c.value and not force and now < tonumber(c.soft) then return reply(HELD, c, 0, true) end
if c and c.lease ~= ZERO and c.lease ~= token and not force then
  if not c.waited then
    c.waited = true
    keep(c, tombstone)
  end
  return reply(TAKEN, c, c.l_end - now, true)
end
local is_new = not c
c = c or blank()
c.lease, c.l_end, c.gen = token, now + us, gen
if is_new then save(c, '', 0) else keep(c, tombstone) end
return reply(LEASED, c, 0, true)
