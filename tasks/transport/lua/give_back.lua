-- Gives held messages back to their queues, at their holder's wish.
--
-- KEYS  unacked, unacked_index, unacked_leases
-- ARGV  'front' or 'back' of the queue, key prefix, separator, number of steps, the priority steps, then the tags
-- Returns how many of them were still held and went back.
--
-- Promises: each is in its queue, marked `redelivered`; nobody died, so its losses stay as they are. Those given back to
--   the front are popped in the order of the tags. One that is not held any more is left alone, so it is safe to repeat.
-- Atomic, so that a message is never in two places or none.
-- The lists are named by what is held, so they can't be among KEYS.

local push = ARGV[1] == 'front' and 'RPUSH' or 'LPUSH'
local prefix, separator, step_count = ARGV[2], ARGV[3], tonumber(ARGV[4])
local steps = {}
for i = 1, step_count do steps[i] = tonumber(ARGV[4 + i]) end
local first, last, by = 5 + step_count, #ARGV, 1
if push == 'RPUSH' then first, last, by = last, first, -1 end

local given = 0
for i = first, last, by do
  local tag = ARGV[i]
  local message, raw, queue = opened(redis.call('HGET', KEYS[1], tag))
  if message then
    local step = steps[step_at(message, steps)]
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    redis.call('ZREM', KEYS[3], tag)
    redis.call(push, prefix .. queue .. (step == 0 and '' or separator .. step), marked_redelivered(raw, message))
    given = given + 1
  end
end
return given
