-- mark.lua - a write begins.  origin token us
--
-- The last mark is the one that counts; it stands as long as the longest. The lease breaks: what its holder loads may be of
-- before the write. What is held stays, but is given to nobody while the mark stands.
local c = read()
local is_new = not c
c = c or blank()
local till = math.max(c.m_end, now + ARGV[3])
unlease(c)
c.mark, c.m_end = ARGV[2], till
if is_new then save(c, '', 0) else keep(c) end
return reply(DONE, c)
