-- Deletes a node's row if it belongs to this incarnation and its lease has ended for long enough.
-- KEYS[1]: the node's row. ARGV: incarnation, how long (microseconds).
-- Returns 1 if no row is left under this name, else 0.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us')
if not row[1] then return 1 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if row[1] ~= ARGV[1] or now - row[2] < tonumber(ARGV[2]) then return 0 end
return redis.call('DEL', KEYS[1])
