-- Stores results of tasks for Celery's result backend and tells those who wait for them. A result that is already there
-- may have to stay, which only a reader of the result's encoding can say: it is handed out instead.
--
-- KEYS[i]      a task's result, and the channel on which it is told
-- ARGV[1]      1 to replace what is there, 0 to leave it
-- ARGV[2i]     the result
-- ARGV[2i + 1] how long it is kept, in seconds; 0 is for ever
-- Returns {i, the result that is there, …} for those that were not stored.
local others = {}
for i, key in ipairs(KEYS) do
  local current = ARGV[1] == '0' and redis.call('GET', key)
  if current then
    others[#others + 1] = i
    others[#others + 1] = current
  else
    local body, seconds = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
    if seconds > 0 then
      redis.call('SET', key, body, 'EX', seconds)
    else
      redis.call('SET', key, body)
    end
    redis.call('PUBLISH', key, body)
  end
end
return others
