-- mark.lua - a write begins.  origin gen token us tombstone
--
-- The last mark is the one that counts; it stands as long as the longest. The lease breaks: what its holder loads may be of
-- before the write. What is held stays, but is given to nobody while the mark stands.
local known, gen = redis.pcall('GETRANGE', key, 0, HEAD), ARGV[2]
if known == '' and gen:byte(1) ~= 63 then -- as below
  local times = ZERO .. ZERO .. gen
  redis.call('SET', key, '1' .. NONE .. NONE .. ZERO .. ZERO .. ARGV[3] .. string.format('%016d', now + ARGV[4]) .. '0' .. times .. times,
    'PX', math.ceil(ARGV[4] / 1000) + 1000)
  return { DONE, now, NONE, 0, 0 }
end
---- cell.lua
local c
c, gen = of_generation(open(known), gen)
local is_new = not c
c = c or blank()
local till = math.max(c.m_end, now + ARGV[4])
unlease(c)
c.mark, c.m_end, c.gen = ARGV[3], till, gen
if is_new then save(c, '', 0) else keep(c, ARGV[5]) end
return reply(DONE, c)
