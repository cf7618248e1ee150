-- Acknowledges messages: they are done, or will never be.
--
-- KEYS  unacked, unacked_index, unacked_leases
-- ARGV  the tags, 1,000 at most
-- Returns how many of them were still held.
--
-- Promises: safe to repeat, also after a reply that was lost. Frees memory only, so a full server runs it.
-- Atomic because a tag in one of the keys alone would be restored to nothing or never be looked at again.

local settled = redis.call('HDEL', KEYS[1], unpack(ARGV))
redis.call('ZREM', KEYS[2], unpack(ARGV))
redis.call('ZREM', KEYS[3], unpack(ARGV))
return settled
