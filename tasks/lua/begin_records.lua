-- Marks tasks as started for the first time: each whose live record is missing, or says that it waits for its first
-- start. Another record is further on than the message alone can tell, and is handed out instead.
--
-- KEYS[i]       a record
-- ARGV[2i - 1]  the record of the start
-- ARGV[2i]      how long it is kept, in milliseconds
-- Returns {i, the record that is there, …} for those that were not marked.
local FIRST = '"rank":4}'
local others = {}
for i, key in ipairs(KEYS) do
  local current = redis.call('GET', key)
  if current and string.sub(current, -#FIRST) ~= FIRST then
    others[#others + 1] = i
    others[#others + 1] = current
  else
    redis.call('SET', key, ARGV[2 * i - 1], 'PX', ARGV[2 * i])
  end
end
return others
