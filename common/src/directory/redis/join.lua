-- Writes a node's row with a fresh lease.
-- KEYS[1]: the node's row. ARGV: incarnation, link address, client address, lease (microseconds).
-- Returns 'accepted'; or 'refused', the incarnation that holds the name, and 1 if its lease runs;
-- or 'sweep' and the incarnation whose client rows must be swept before the name is free.
local old = redis.call('HMGET', KEYS[1], 'incarnation', 'link_address', 'client_address',
  'lease_until_us')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local same = old[1] == ARGV[1] and old[2] == ARGV[2] and old[3] == ARGV[3]
if old[1] and not same then
  local live = tonumber(old[4]) > now
  if tonumber(old[1]) >= tonumber(ARGV[1]) then return {'refused', old[1], live and 1 or 0} end
  -- The row stays until its client rows are gone: nobody would find them without it.
  if live then redis.call('HSET', KEYS[1], 'lease_until_us', string.format('%.0f', now)) end
  return {'sweep', old[1], 0}
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'link_address', ARGV[2],
  'client_address', ARGV[3], 'connections', 0,
  'lease_until_us', string.format('%.0f', now + ARGV[4]))
return {'accepted', false, 0}
