-- Tells whether an incarnation has no lease any more.
-- KEYS[1]: the node's row. ARGV: incarnation. Returns 1 if so, else 0.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
return (row[1] == ARGV[1] and tonumber(row[2]) > now) and 0 or 1
