-- Renews the lease of held messages.
--
-- KEYS  unacked_index, unacked_leases
-- ARGV  lease in seconds, then the tags, 1,000 at most
-- Returns how many of them are still held.
--
-- Promises: only entries that exist are renewed; one that was acknowledged or restored does not come back. The index tells
--   stock workers that the holder is alive, by their own time-out.
-- Atomic, with the server's clock: what a holder's clock says does not matter.

redis.call('ZREM', KEYS[1], '')  -- a write that needs no memory allows the rest of the script on a full server
local seconds = server_seconds()
local now, lease_end = score(seconds), score(seconds + tonumber(ARGV[1]))
local renewed = 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[i])
    redis.call('ZADD', KEYS[2], 'XX', lease_end, ARGV[i])
    renewed = renewed + 1
  end
end
return renewed
