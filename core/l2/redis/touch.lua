-- touch.lua - another soft expiry for what is held; the hard one moves along.  origin gen us
--
-- us 0: it only expires. How long it may be served stale is in the value, where no script looks: what the key still has to
-- live says it, too. A value that lived for ever because of its ttl, and is given a shorter one, goes on to take room.
---- cell.lua
local c = of_generation(read(), ARGV[2])
if not c or not c.value then return reply(DONE, c, 0) end
local left, old, soft = redis.call('PTTL', key), tonumber(c.soft), now + ARGV[3]
if ARGV[3] == '0' then soft = math.min(now, old) end
c.soft = at(soft)
redis.call('SETRANGE', key, 120, head(c):sub(121))
if left >= 0 then
  local ms = left + math.ceil((soft - old) / 1000)
  if soft >= 9e15 then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(ms, needs(c), 1)))
  end
end
return reply(DONE, c, 1)
