-- Marks tasks as started for the first time: each whose live record is missing, or says that it waits for its first
-- start. Another record is further on than the message alone can tell, and is handed out instead.
--
-- KEYS[i]  a record
-- ARGV[1]  MessagePack, a list with two values for each: the record of the start, and how long it is kept, in
--          milliseconds. One argument costs the sender less than many.
-- Returns {i, the record that is there, …} for those that were not marked.
local FIRST = '"rank":4}'
local values = cmsgpack.unpack(ARGV[1])
local others = {}
for i, key in ipairs(KEYS) do
  local current = redis.call('GET', key)
  if current and string.sub(current, -#FIRST) ~= FIRST then
    others[#others + 1] = i
    others[#others + 1] = current
  else
    redis.call('SET', key, values[2 * i - 1], 'PX', values[2 * i])
  end
end
return others
