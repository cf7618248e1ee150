-- What every script knows of a message; put in front of each of them.
--
-- A held message is one field of the hash `unacked`: `[raw,"","queue"]`, built by concatenation, so that the raw message
-- comes back byte for byte. kombu reads it as its own; its own entries have spaces, which is how the two are told apart.

local function server_seconds()
  local now = redis.call('TIME')
  return now[1] + now[2] / 1e6
end

local function score(seconds)
  return string.format('%.6f', seconds)
end

local function decode(text)
  local ok, value = pcall(cjson.decode, text)
  if not ok then  -- Python writes half surrogate pairs, which are no JSON to cjson: only our copy is changed
    ok, value = pcall(cjson.decode, (string.gsub(text, '\\u[dD][89a-fA-F]%x%x', '\\u0020')))
  end
  return ok and type(value) == 'table' and value or nil
end

local function tag_of(message)
  local tag = message and type(message.properties) == 'table' and message.properties.delivery_tag
  return type(tag) == 'string' and tag or nil
end

-- The tag of a message as kombu and Celery spell it, if it has no `eta`: it stands at the end. To find it there takes a
-- tenth of the time of decoding, which is most of what a claim costs. The holder decodes it anyhow, and parks what is
-- no message after all.
local function tag_at_end(raw)
  local tag = string.match(string.sub(raw, -80), '"delivery_tag": ?"([%w-]+)"}}$')
  if not tag or string.find(raw, '"eta": "', 1, true) or string.find(raw, '"eta":"', 1, true) then return nil end
  return tag
end

local function tail_of(queue)
  return ',"",' .. cjson.encode(queue) .. ']'
end

-- The message held in `entry`, its raw text and its queue; nothing for an entry of a stock worker.
local function opened(entry)
  local held = entry and decode(entry)
  if not held or held[2] ~= '' or type(held[3]) ~= 'string' or not tag_of(held[1]) then return nil end
  local tail = tail_of(held[3])
  if string.sub(entry, -#tail) ~= tail then return nil end
  return held[1], string.sub(entry, 2, -#tail - 1), held[3]
end

-- The raw text and the queue of an entry of ours, also if the text is no message; nothing for that of a stock worker.
local function inside(entry)
  local raw, queue = string.match(entry, '^%[(.*),"",(".*")%]$')
  if not raw then return end
  local ok, name = pcall(cjson.decode, '[' .. queue .. ']')  -- what only looks like ours must not stop those who restore
  if ok then return raw, name[1] end
end

-- The position of the message's priority among the steps, which rise; as kombu's bisect.
local function step_at(message, steps)
  local priority = tonumber(message.properties.priority) or 0
  local found = 1
  for i = 1, #steps do
    if priority >= steps[i] then found = i end
  end
  return found
end

local function days_since_1970(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local function offset_seconds(zone)
  if zone == '' or zone == 'Z' or zone == 'z' then return 0 end
  local sign, hours, minutes, seconds = string.match(zone, '^([+-])(%d%d):?(%d%d):?(%d?%d?)')
  if not sign then
    sign, hours = string.match(zone, '^([+-])(%d%d)$')
  end
  if not sign then return nil end
  local offset = hours * 3600 + (tonumber(minutes) or 0) * 60 + (tonumber(seconds) or 0)
  return sign == '-' and -offset or offset
end

-- ISO 8601 as Celery writes it, in seconds since 1970; without an offset it is UTC. Nothing for what it can't read.
local function epoch_seconds(text)
  local year, month, day, hour, minute, rest = string.match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d)(.*)$')
  if not year then return nil end
  local second, fraction = '0', ''
  local with_seconds, after = string.match(rest, '^:(%d%d)(.*)$')
  if with_seconds then
    second, rest = with_seconds, after
    local digits, zone = string.match(rest, '^[.,](%d+)(.*)$')
    if digits then fraction, rest = digits, zone end
  end
  local offset = offset_seconds(rest)
  month, day, hour, minute = tonumber(month), tonumber(day), tonumber(hour), tonumber(minute)
  if not offset or month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 then return nil end
  local whole = days_since_1970(tonumber(year), month, day) * 86400 + hour * 3600 + minute * 60 + tonumber(second)
  return whole + (tonumber('0.' .. fraction .. '0')) - offset
end

-- When the message may be delivered, in seconds since 1970; nothing for one that may be at any time.
local function due_seconds(message)
  local eta = type(message.headers) == 'table' and message.headers.eta
  return type(eta) == 'string' and epoch_seconds(eta) or nil
end
