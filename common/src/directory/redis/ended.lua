-- Tells whether an incarnation's lease has ended.
-- KEYS[1]: the node's row. ARGV: incarnation.
-- Returns the present time in microseconds if it has, else nothing.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if row[1] == ARGV[1] and tonumber(row[2]) > now then return false end
return string.format('%.0f', now)
