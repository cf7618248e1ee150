-- Takes up to `want` messages from the queues and writes down, in the same step, that they are held.
--
-- KEYS  unacked, unacked_index, unacked_leases, then for each queue: <queue>.delayed, <queue>.malformed, its list for each
--       priority step
-- ARGV  want, share (the most of one queue at a time), most due messages to move per queue, lease in seconds, number of
--       steps, the steps, for each queue '+name' (held until acknowledged) or '-name' (not), then the tags to acknowledge
-- Returns {milliseconds, parked, delayed, queue number, raw, queue number, raw, …}: `milliseconds` until the next delayed
--       message is due, 0 when there may be more at once, -1 when there is nothing to wait for; how many messages were
--       parked as malformed, and how many were found not to be due.
--
-- Promises: a message is at every moment in a list, in `.delayed`, in `.malformed` or in `unacked`, so a holder that is
--   killed loses none. Of one priority, each queue gives `share` messages in turn. The work done is bounded by `want` and
--   the number of queues, whatever they hold.
-- Atomic because a pop and its entry in `unacked` are one event to everybody else. The reads at the end, when the queues
--   are empty, are part of it too: whatever is written to one of those keys from then on is announced to a tracking client.
-- The first write frees memory (HDEL, ZREM, RPOP), so that a full server runs the rest: acknowledging must go on there.

local want, share, most_due = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, step_count = tonumber(ARGV[4]), tonumber(ARGV[5])
local per_queue = step_count + 2
local queue_count = (#KEYS - 3) / per_queue
local steps = {}
for i = 1, step_count do steps[i] = tonumber(ARGV[5 + i]) end
local names_at = 5 + step_count
local first_tag = names_at + queue_count + 1

for from = first_tag, #ARGV, 1000 do
  local to = math.min(from + 999, #ARGV)
  redis.call('HDEL', KEYS[1], unpack(ARGV, from, to))
  redis.call('ZREM', KEYS[2], unpack(ARGV, from, to))
  redis.call('ZREM', KEYS[3], unpack(ARGV, from, to))
end

local now = server_seconds()
local now_score, lease_end = score(now), score(now + lease)
local out = {0, 0, 0}

local function key_at(queue, number)
  return KEYS[3 + (queue - 1) * per_queue + number]
end

local function move_due(queue)
  local delayed = key_at(queue, 1)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now_score, 'LIMIT', 0, most_due)
  if #due == 0 then return end
  redis.call('ZREM', delayed, unpack(due))
  for i = #due, 1, -1 do  -- the one due first is to be popped first
    local message = decode(due[i])
    if tag_of(message) then
      redis.call('RPUSH', key_at(queue, 2 + step_at(message, steps)), due[i])
    else
      redis.call('LPUSH', key_at(queue, 2), due[i])
      out[2] = out[2] + 1
    end
  end
end

local entries, scores, leases, tails = {}, {}, {}, {}
for queue = 1, queue_count do tails[queue] = tail_of(string.sub(ARGV[names_at + queue], 2)) end

local function take(queue, raw)
  local name = ARGV[names_at + queue]
  local tag, due = tag_at_end(raw), nil
  if not tag then
    local message = decode(raw)
    tag = tag_of(message)
    due = tag and due_seconds(message)
  end
  if not tag then
    redis.call('LPUSH', key_at(queue, 2), raw)
    out[2] = out[2] + 1
    return
  end
  if due and due > now then
    redis.call('ZADD', key_at(queue, 1), score(due), raw)
    out[3] = out[3] + 1
    return
  end
  if string.sub(name, 1, 1) == '+' then
    entries[#entries + 1] = tag
    entries[#entries + 1] = '[' .. raw .. tails[queue]
    scores[#scores + 1] = now_score
    scores[#scores + 1] = tag
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = tag
  end
  out[#out + 1] = queue
  out[#out + 1] = raw
end

local function take_level(number)
  local more = true
  while more and want > 0 do
    more = false
    for queue = 1, queue_count do
      local quota = math.min(share, want)
      local popped = quota > 0 and redis.call('RPOP', key_at(queue, number), quota)
      if popped then
        want = want - #popped
        more = more or #popped == quota
        for i = 1, #popped do take(queue, popped[i]) end
      end
    end
  end
end

for queue = 1, queue_count do move_due(queue) end
for i = 1, step_count do take_level(2 + i) end
if #entries > 0 then
  redis.call('HSET', KEYS[1], unpack(entries))
  redis.call('ZADD', KEYS[2], unpack(scores))
  redis.call('ZADD', KEYS[3], unpack(leases))
end
if want <= 0 then return out end

out[1] = -1
for queue = 1, queue_count do
  for i = 1, step_count do redis.call('EXISTS', key_at(queue, 2 + i)) end
  local next_due = redis.call('ZRANGE', key_at(queue, 1), 0, 0, 'WITHSCORES')[2]
  if next_due then
    local milliseconds = math.max(0, math.ceil((tonumber(next_due) - now) * 1000))
    if out[1] < 0 or milliseconds < out[1] then out[1] = milliseconds end
  end
end
return out
