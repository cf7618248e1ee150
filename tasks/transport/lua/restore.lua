-- Gives the messages of dead holders back to their queues.
--
-- KEYS  unacked, unacked_index
-- ARGV  lease in seconds, how many entries to pass over, how many to look at, key prefix, separator, priority steps…
-- Returns {looked at, restored}. What was looked at and not restored belongs to stock workers, whose own time-out is
--       kombu's business: the next call passes over it.
--
-- Promises: a message whose lease was not renewed for `lease` seconds by the server's clock is at the front of its queue,
--   byte for byte but for its marks: `redelivered`, and the header `x-losses` one higher, since its holder died. What is
--   no message at all is put aside.
-- Atomic, so that two who restore do not both push it, and an acknowledgement comes before or after, not between.
-- The lists are named by what is held, so they can't be among KEYS.

local lease, skip, limit, prefix, separator = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local steps = {}
for i = 6, #ARGV do steps[#steps + 1] = tonumber(ARGV[i]) end

redis.call('ZREM', KEYS[2], '')  -- a write that needs no memory allows the rest of the script on a full server
local overdue = score(server_seconds() - lease)
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', overdue, 'LIMIT', skip, limit)
local restored = 0
for i = #tags, 1, -1 do
  local tag = tags[i]
  local entry = redis.call('HGET', KEYS[1], tag)
  local message, raw, queue = opened(entry)
  if message then
    local step = steps[step_at(message, steps)]
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    raw = counted_loss(marked_redelivered(raw, message), message)
    redis.call('RPUSH', prefix .. queue .. (step == 0 and '' or separator .. step), raw)
    restored = restored + 1
  elseif entry and not decode(entry) then  -- its holder died before it could park it
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    local text, name = inside(entry)
    redis.call('LPUSH', prefix .. (name or '') .. '.malformed', text or entry)
    restored = restored + 1
  elseif not entry then
    redis.call('ZREM', KEYS[2], tag)
    restored = restored + 1
  end
end
return {#tags, restored}
