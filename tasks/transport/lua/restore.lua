-- Gives the messages of dead holders back to their queues.
--
-- KEYS  unacked, unacked_index, unacked_leases, unacked_watch
-- ARGV  the caller's lease in seconds, how many leases to look at, key prefix, separator, priority steps…
-- Returns {looked at, restored}.
--
-- Promises: a message whose lease has run out by the server's clock is at the front of its queue, byte for byte but for
--   its marks: `redelivered`, and the header `x-losses` one higher, since its holder died. What is no message at all is
--   put aside. How long a lease is, its holder has said; what stock workers hold has none, and is kombu's business.
--   When nobody has asked for three quarters of a lease, the server was out of reach, or everybody was dead. Leases that
--   were renewed in time may have run out meanwhile, so all holders get half a lease to renew them first.
-- Atomic, so that two who restore do not both push it, and an acknowledgement comes before or after, not between.
-- The lists are named by what is held, so they can't be among KEYS.

local lease, limit, prefix, separator = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local steps = {}
for i = 5, #ARGV do steps[#steps + 1] = tonumber(ARGV[i]) end

redis.call('ZREM', KEYS[3], '')  -- a write that needs no memory allows the rest of the script on a full server
local now = server_seconds()

local function must_wait()
  local asked = tonumber(redis.call('HGET', KEYS[4], 'asked'))
  redis.call('HSET', KEYS[4], 'asked', score(now))
  if not asked or now < asked or now - asked > 0.75 * lease then  -- a clock that was set back tells nothing
    redis.call('HSET', KEYS[4], 'wait_until', score(now + lease / 2))
    return true
  end
  return now < tonumber(redis.call('HGET', KEYS[4], 'wait_until'))
end

if must_wait() then return {0, 0} end
local tags = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', score(now), 'LIMIT', 0, limit)
local restored = 0
for i = #tags, 1, -1 do
  local tag = tags[i]
  local entry = redis.call('HGET', KEYS[1], tag)
  local message, raw, queue = opened(entry)
  local text, name = inside(entry or '')
  redis.call('ZREM', KEYS[3], tag)  -- also when a stock worker has taken the entry away, or holds it itself by now
  if message then
    local step = steps[step_at(message, steps)]
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    raw = counted_loss(marked_redelivered(raw, message), message)
    redis.call('RPUSH', prefix .. queue .. (step == 0 and '' or separator .. step), raw)
    restored = restored + 1
  elseif text then  -- its holder died before it could park it
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    redis.call('LPUSH', prefix .. name .. '.malformed', text)
    restored = restored + 1
  end
end
return {#tags, restored}
