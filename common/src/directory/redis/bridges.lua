-- Reads which bridges have a lease, and deletes the rows of the others.
-- KEYS[1]: the bridges. Returns their names, in no order.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rows = redis.call('HGETALL', KEYS[1])
local live = {}
for at = 1, #rows, 2 do
  local lease_until = tonumber(string.match(rows[at + 1], ' (%d+)$'))
  if lease_until and lease_until > now then
    live[#live + 1] = rows[at]
  else
    redis.call('HDEL', KEYS[1], rows[at])
  end
end
return live
