-- mark.lua - a write begins.  origin gen token us tombstone
--
-- The last mark is the one that counts; it stands as long as the longest. The lease breaks: what its holder loads may be of
-- before the write. What is held stays, but is given to nobody while the mark stands.
local c, gen = of_generation(read(), ARGV[2])
local is_new = not c
c = c or blank()
local till = math.max(c.m_end, now + ARGV[4])
unlease(c)
c.mark, c.m_end, c.gen = ARGV[3], till, gen
if is_new then save(c, '', 0) else keep(c, ARGV[5]) end
return reply(DONE, c)
