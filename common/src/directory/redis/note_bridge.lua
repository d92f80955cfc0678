-- Writes a bridge's row with a fresh lease, unless a younger life of its name has one.
-- KEYS[1]: the bridges. ARGV: name, incarnation, lease (microseconds).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local life, lease_until = string.match(old, '^(%d+) (%d+)$')
  if life and tonumber(life) > tonumber(ARGV[2]) and tonumber(lease_until) > now then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]))
return 1
