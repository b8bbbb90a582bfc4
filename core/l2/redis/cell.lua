-- cell.lua - the cell at KEYS[1] read into a table and written back (its drawing is in cell.h), and the bell rung. A script
-- gets those functions that it names, and those that these name.

local function at(us)
  return us < 9e15 and string.format('%016d', us) or NEVER
end

local function higher(a, b)
  return a > b and a or b
end

local function stands(token, till)
  return token ~= ZERO and till > now and till < now + AHEAD
end

local function reply(state, c, extra, with)
  return { state, now, c and higher(c.version, c.floor) or NONE, extra or 0, damaged, with and c.value and c.bytes or nil }
end

local function blank()
  return { version = NONE, floor = NONE, lease = ZERO, l_end = 0, mark = ZERO, m_end = 0, asked = ZERO, soft = ZERO, gen = ZERO }
end

-- ^%x*$ looks at a character once; [^0-9a-f] takes the server four times as long.
local function parse(s)
  local all = s:sub(1, HEAD)
  if s:byte(1) ~= 49 or #s < HEAD or s:sub(153, 200) ~= s:sub(105, 152) or not all:find('^%x*$') or all:lower() ~= all then
    return nil
  end
  if not (s:sub(2, 39) .. s:sub(56, 71) .. s:sub(88, 136)):find('^%d*$') then return nil end
  local c = { version = s:sub(2, 20), floor = s:sub(21, 39), lease = s:sub(40, 55), l_end = tonumber(s:sub(56, 71)),
    mark = s:sub(72, 87), m_end = tonumber(s:sub(88, 103)), waited = s:byte(104) == 49, asked = s:sub(105, 120),
    soft = s:sub(121, 136), gen = s:sub(137, 152), value = #s > HEAD, bytes = s }
  if not stands(c.lease, c.l_end) then c.lease, c.l_end, c.waited = ZERO, 0, false end
  if not stands(c.mark, c.m_end) then c.mark, c.m_end = ZERO, 0 end
  return c
end

-- The cell of what GET or GETRANGE (by pcall) gave, nil where there is none.
local function open(s)
  if not s or s == '' then return nil end
  local c
  if type(s) == 'string' then
    c = parse(s)
  elseif s.err:sub(1, 9) ~= 'WRONGTYPE' then
    redis.call('GET', key) -- raises what the server said
  end
  if not c then
    damaged = 1
    redis.call('DEL', key)
  end
  return c
end

-- The cell without its value, but for a byte.
local function read()
  return open(redis.pcall('GETRANGE', key, 0, HEAD))
end

-- The value goes; what its version said stays as the floor.
local function forget(c)
  if not c.value then return end
  c.floor = higher(c.version, c.floor)
  c.version, c.asked, c.soft = NONE, ZERO, ZERO
  c.value, c.gone = false, true
end

-- The cell as the namespace's generation has it, and that. Asked for with '?' and a random one where the asker does not know
-- it yet. What is no value's is the lease's or the mark's: who fills or sets in another generation than he began in was
-- overtaken by an invalidate_all, and what he has may be of before.
local function of_generation(c, gen)
  if gen:byte(1) == 63 then
    local known = redis.call('HGET', bell, 'g')
    if not known then
      known = gen:sub(2)
      redis.call('HSET', bell, 'g', known)
    end
    gen = known
  end
  if c and c.value and (c.gen ~= gen or tonumber(c.asked) > now) then forget(c) end
  return c, gen
end

local function head(c)
  local times = c.asked .. c.soft .. c.gen
  return '1' .. c.version .. c.floor .. c.lease .. at(c.l_end) .. c.mark .. at(c.m_end) .. (c.waited and '1' or '0') .. times .. times
end

-- How many ms the cell must live for its lease and mark.
local function needs(c)
  local till = math.max(c.l_end, c.m_end)
  return till > now and math.ceil((till - now) / 1000) + 1000 or 0
end

local function says_nothing(c)
  return not c.value and c.floor == NONE and c.lease == ZERO and c.mark == ZERO
end

-- Writes all of the cell, with that value ('' none); ms nil: for ever.
local function save(c, value, ms)
  if value == '' and says_nothing(c) then
    redis.call('DEL', key)
  elseif ms then
    redis.call('SET', key, head(c) .. value, 'PX', string.format('%.0f', math.max(ms, needs(c), 1)))
  else
    redis.call('SET', key, head(c) .. value)
  end
end

-- Writes what changed of a cell that was read; its value stays, or was forgotten. It lives on for as long as it would have.
local function keep(c, tombstone)
  if c.gone then
    save(c, '', tonumber(tombstone) / 1000)
  elseif says_nothing(c) then
    redis.call('DEL', key)
  else
    redis.call('SETRANGE', key, 0, head(c))
    local left, least = redis.call('PTTL', key), needs(c)
    if left >= 0 and left < least then redis.call('PEXPIRE', key, string.format('%.0f', least)) end
  end
end

-- The user's key is what follows "ldr1:NAME:", four bytes less than "ldr1.bell:NAME".
local function say(words)
  redis.call('PUBLISH', bell, words .. ' ' .. origin .. ' ' .. key:sub(#bell - 3))
end

local function ring(kind, version)
  say(string.format('%d %s %s', redis.call('HINCRBY', bell, 's', 1), kind, (version:gsub('^0+(%d)', '%1'))))
end

-- A mark under which no writer's set is taken, not its own writer's either, who still ends it: tokens begin with 0 to 7.
local function poisoned(mark)
  return string.format('%x', tonumber(mark:sub(1, 1), 16) % 8 + 8) .. mark:sub(2)
end

-- Is it that writer's mark, poisoned or not? Then it ends.
local function unmark(c, token)
  if c.mark ~= token and c.mark ~= poisoned(token) then return false end
  c.mark, c.m_end = ZERO, 0
  return true
end

-- The lease is over: who waits for it is told.
local function unlease(c)
  if c.waited then say('0 w 0') end
  c.lease, c.l_end, c.waited = ZERO, 0, false
end

-- When the value expires: its age and when the asker thinks the source was asked on this clock ('' unknown: the earlier
-- one counts, for the question may have been long on its way), ttl and stale_ttl. Gives the ms that it is to live.
local function expiry(c, age, asked, ttl, stale)
  local since = math.max(0, math.min(now - age, tonumber(asked) or now))
  local hard = since + ttl + stale
  c.asked, c.soft = at(since), at(since + ttl)
  return hard < 9e15 and math.max(1, math.ceil((hard - now) / 1000)) or nil
end

-- The version after that one; nil: there is none.
local function after(version)
  local digits, nines = version:match('^(%d-)(9*)$')
  if version >= '9223372036854775807' then return nil end
  return digits:sub(1, -2) .. string.char(digits:byte(-1) + 1) .. ('0'):rep(#nines)
end

-- A version above all that is known of the key, and above those drawn before where that was forgotten.
local function draw(c)
  local known, ours = higher(c.version, c.floor), '000' .. at(now)
  return known < ours and ours or after(known)
end
