-- Writes a node's row with a fresh lease. A life that it replaces is named there as a former one, until
-- nothing of it is left: nobody would find its client rows without that.
-- KEYS[1]: the node's row. ARGV: incarnation, link address, client address, lease (microseconds).
-- Returns nothing, nothing and the former lives; or, if it is refused, the incarnation that holds the
-- name, and 1 if its lease runs.
local old = redis.call('HMGET', KEYS[1], 'incarnation', 'link_address', 'client_address',
  'lease_until_us', 'former')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local former = old[5] or ''
local same = old[1] == ARGV[1] and old[2] == ARGV[2] and old[3] == ARGV[3]
if old[1] and not same then
  if tonumber(old[1]) >= tonumber(ARGV[1]) then
    return {old[1], tonumber(old[4]) > now and 1 or 0, ''}
  end
  former = former .. old[1] .. ' '
end
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'link_address', ARGV[2],
  'client_address', ARGV[3], 'connections', 0, 'former', former,
  'lease_until_us', string.format('%.0f', now + ARGV[4]))
return {false, 0, former}
