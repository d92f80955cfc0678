-- Reads a node's row. KEYS[1]: the node's row.
-- Returns incarnation, link address, client address, connections, and 1 if its lease runs, else 0;
-- or nothing if there is no row.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'link_address', 'client_address',
  'connections', 'lease_until_us')
if not row[1] then return false end
local time = redis.call('TIME')
local live = tonumber(row[5]) > time[1] * 1000000 + time[2]
return {row[1], row[2], row[3], row[4], live and 1 or 0}
