-- Writes live records of tasks that have succeeded, each unless the one that is there is further on, and beside each the
-- copy of its result for Celery's result backend, which is told to those who wait for it. A copy that is already there
-- may have to stay, which only a reader of its encoding can say: it is left.
--
-- KEYS[2i - 1]  a record
-- KEYS[2i]      the copy, and the channel on which it is told
-- ARGV[1]       MessagePack, a list with five values for each: the new record, JSON that ends with its number `rank`; its
--               rank; how long it is kept, in milliseconds; the copy; how long that is kept, in seconds, 0 is for ever.
--               One argument costs the sender less than many.
-- Returns a string with a 1 for each copy that was stored and a 0 for each that was left.
--
-- Atomic, so that who is told of the copy finds the record finished too.
local values, stored = cmsgpack.unpack(ARGV[1]), {}
for i = 1, #KEYS / 2 do
  local record, copy, at = KEYS[2 * i - 1], KEYS[2 * i], 5 * i - 4
  local current = redis.call('GET', record)
  local rank = current and tonumber(string.match(string.sub(current, -32), '"rank":(%d+)}$'))
  if not rank or rank <= values[at + 1] then
    redis.call('SET', record, values[at], 'PX', values[at + 2])
  end
  if redis.call('EXISTS', copy) == 1 then
    stored[i] = '0'
  else
    local seconds = values[at + 4]
    if seconds > 0 then
      redis.call('SET', copy, values[at + 3], 'EX', seconds)
    else
      redis.call('SET', copy, values[at + 3])
    end
    redis.call('PUBLISH', copy, values[at + 3])
    stored[i] = '1'
  end
end
return table.concat(stored)
