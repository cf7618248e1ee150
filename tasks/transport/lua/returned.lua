-- How a held message is written when it goes back to its queue; put in front of the scripts that return messages.
--
-- The raw text is edited, not encoded anew: cjson would turn `[]` into `{}` and long numbers into floats. Every edit is
-- checked by decoding; one that does not come out as meant is not made.

local function with_first_member(raw, key, member, as_meant)
  local from = 1
  while true do
    local start, stop, after = string.find(raw, '"' .. key .. '"%s*:%s*{%s*()', from)
    if not start then return raw end
    local comma = string.sub(raw, after, after) == '}' and '' or ', '
    local edited = string.sub(raw, 1, after - 1) .. member .. comma .. string.sub(raw, after)
    if as_meant(decode(edited)) then return edited end
    from = stop + 1
  end
end

local function with_losses(raw, losses, as_meant)
  local from = 1
  while true do
    local start, stop, before = string.find(raw, '"x%-losses"%s*:%s*()%d+', from)
    if not start then return raw end
    local edited = string.sub(raw, 1, before - 1) .. losses .. string.sub(raw, stop + 1)
    if as_meant(decode(edited)) then return edited end
    from = stop + 1
  end
end

local function marked_redelivered(raw, message)
  local tag = message.properties.delivery_tag
  if type(message.headers) == 'table' and not message.headers.redelivered then
    raw = with_first_member(raw, 'headers', '"redelivered": true', function(edited)
      return tag_of(edited) == tag and type(edited.headers) == 'table' and edited.headers.redelivered == true
    end)
  end
  local info = message.properties.delivery_info
  if type(info) == 'table' and not info.redelivered then
    raw = with_first_member(raw, 'delivery_info', '"redelivered": true', function(edited)
      local edited_info = tag_of(edited) == tag and edited.properties.delivery_info
      return type(edited_info) == 'table' and edited_info.redelivered == true
    end)
  end
  return raw
end

-- One more holder of this message has died.
local function counted_loss(raw, message)
  if type(message.headers) ~= 'table' then return raw end
  local tag, before = message.properties.delivery_tag, tonumber(message.headers['x-losses'])
  local losses = string.format('%d', (before or 0) + 1)
  local function as_meant(edited)
    return tag_of(edited) == tag and type(edited.headers) == 'table' and edited.headers['x-losses'] == tonumber(losses)
  end
  if before then return with_losses(raw, losses, as_meant) end
  return with_first_member(raw, 'headers', '"x-losses": ' .. losses, as_meant)
end
