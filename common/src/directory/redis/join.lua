-- Writes a node's row with a fresh lease.
-- KEYS[1]: the node's row. ARGV: incarnation, link address, client address, lease (microseconds).
-- Returns 'accepted'; or 'refused' and the younger incarnation that holds the name; or 'sweep' and
-- the incarnation whose client rows must be swept before the name is free.
local old = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if old[1] then
  local live = tonumber(old[2]) > now
  if live and tonumber(old[1]) > tonumber(ARGV[1]) then return {'refused', old[1]} end
  if not live or old[1] ~= ARGV[1] then
    -- The row stays until its client rows are gone: nobody would find them without it.
    redis.call('HSET', KEYS[1], 'lease_until_us', 0)
    return {'sweep', old[1]}
  end
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'link_address', ARGV[2],
  'client_address', ARGV[3], 'connections', 0,
  'lease_until_us', string.format('%.0f', now + ARGV[4]))
return {'accepted', false}
