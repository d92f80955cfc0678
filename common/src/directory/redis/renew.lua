-- Prolongs a node's lease while it runs. A lease of 0 ends it.
-- KEYS[1]: the node's row. ARGV: incarnation, lease (microseconds), connections.
-- Returns 1, or 0 if this incarnation has no lease any more.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if row[1] ~= ARGV[1] or tonumber(row[2]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'lease_until_us', string.format('%.0f', now + ARGV[2]),
  'connections', ARGV[3])
return 1
