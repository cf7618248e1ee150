-- Writes live records of tasks, each unless the one that is there is further on: a late progress report must not hide a
-- result, nor the report of an attempt that was given up hide its successor's.
--
-- KEYS[i]       a record
-- ARGV[3i - 2]  the new record, JSON that ends with its number `rank`
-- ARGV[3i - 1]  its rank
-- ARGV[3i]      how long it is kept, in milliseconds
-- Returns a string with a 1 for each record that was written and a 0 for each that was too old.
local written = {}
for i, key in ipairs(KEYS) do
  local current = redis.call('GET', key)
  local rank = current and tonumber(string.match(string.sub(current, -32), '"rank":(%d+)}$'))
  if rank and rank > tonumber(ARGV[3 * i - 1]) then
    written[i] = '0'
  else
    redis.call('SET', key, ARGV[3 * i - 2], 'PX', ARGV[3 * i])
    written[i] = '1'
  end
end
return table.concat(written)
