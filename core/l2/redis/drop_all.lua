-- drop_all.lua - all of the namespace: a new generation.  origin gen
--
-- KEYS[1] is the bell, too. It begins with HDEL, which passes at maxmemory.
---- cell.lua
redis.call('HDEL', bell, 'g')
local seq = redis.call('HINCRBY', bell, 's', 1)
redis.call('PUBLISH', bell, string.format('%.0f a 0 %s %s', seq, origin, ARGV[2]))
redis.call('HSET', bell, 'g', ARGV[2])
return { DONE, now, NONE, 0, 0, ARGV[2] }
