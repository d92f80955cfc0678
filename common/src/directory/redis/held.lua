-- Wills that are owed, for the scripts that this stands in front of; in front of it stands for how long
-- whoever takes them has them alone, as held_us. They stand in one field, packed: of each the epoch of the
-- claim that it came with, topic, QoS, retain and payload.
local function unpacked(owed)
  return owed and cmsgpack.unpack(owed) or {}
end
-- A hold that ends later than any begun now is none: the clock was set back.
local function is_held(held_until, now)
  local left = tonumber(held_until or 0) - now
  return left > 0 and left <= held_us
end
local function hold(key, owed, now)
  redis.call('HSET', key, 'owed', cmsgpack.pack(owed),
    'held_until_us', string.format('%.0f', now + held_us))
end
-- A connection has ended: its will is void, or owed from now on. Returns the wills that the caller holds by that:
-- all that are owed, but those that somebody holds already.
local function end_connection(key, row, is_abnormal)
  redis.call('HSET', key, 'connected', 0)
  redis.call('HDEL', key, 'will_topic', 'will_qos', 'will_retain', 'will_payload')
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local owed = unpacked(row[8])
  local taken = is_held(row[9], now) and {} or unpacked(row[8])
  if row[5] and is_abnormal == '1' then
    local will = {unpack(row, 3, 7)}
    owed[#owed + 1], taken[#taken + 1] = will, will
  end
  if #taken > 0 then hold(key, owed, now) end
  return taken
end
