-- Reads a node's row. KEYS[1]: the node's row.
-- Returns incarnation, link address, client address, connections, 1 if its lease runs, else 0, and
-- for how long it has been over (microseconds), and the former lives; or nothing if there is no row.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'link_address', 'client_address',
  'connections', 'lease_until_us', 'former')
if not row[1] then return false end
local time = redis.call('TIME')
local over = time[1] * 1000000 + time[2] - row[5]
return {row[1], row[2], row[3], row[4], over < 0 and 1 or 0, math.max(over, 0),
  row[6] or ''}
