-- Writes a task's live record, unless the one that is there is further on: a late progress report must not hide a
-- result, nor the report of an attempt that was given up hide its successor's.
--
-- KEYS[1]  the record
-- ARGV[1]  the new record, JSON with a number `rank`
-- ARGV[2]  its rank
-- ARGV[3]  how long it is kept, in milliseconds
-- Returns 1 when it was written, 0 when it was too old.
local current = redis.call('GET', KEYS[1])
if current then
  local readable, record = pcall(cjson.decode, current)
  local rank = readable and type(record) == 'table' and tonumber(record.rank)
  if rank and rank > tonumber(ARGV[2]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
