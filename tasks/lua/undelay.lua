-- Puts delayed messages of one queue back into it, for workers whose transport looks for messages nowhere else. Such a
-- worker waits for a message's time itself.
--
-- KEYS  <queue>.delayed, then the queue's list for each priority step
-- ARGV  how many at most, then the priority steps
-- Returns how many are left.
--
-- Atomic, so that a message is never in two places or none. Comes after the transport's `message.lua`.
local steps = {}
for i = 2, #ARGV do steps[i - 1] = tonumber(ARGV[i]) end

local delayed = redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
if #delayed == 0 then return 0 end
redis.call('ZREM', KEYS[1], unpack(delayed))
for i = 1, #delayed do
  local message = decode(delayed[i])
  redis.call('LPUSH', KEYS[1 + (tag_of(message) and step_at(message, steps) or 1)], delayed[i])
end
return redis.call('ZCARD', KEYS[1])
