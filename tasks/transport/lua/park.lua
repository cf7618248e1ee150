-- Puts a held message aside that its holder can't read.
--
-- KEYS  unacked, unacked_index, unacked_leases, <queue>.malformed
-- ARGV  the tag
-- Returns 1, or 0 if it is not held any more.
--
-- Promises: it is kept as it came, where no worker takes it.
-- Atomic, so that it is never in two places or none. What frees memory comes first, so that a full server runs it.

local entry = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if not entry then return 0 end
redis.call('LPUSH', KEYS[4], inside(entry) or entry)
return 1
