-- Writes a client's row that was lost, unless one of the same or a greater epoch stands there.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, user, address.
-- Returns 1 if the row belongs to this node and incarnation now, else 0.
local old = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch')
if old[3] and tonumber(old[3]) >= tonumber(ARGV[3]) then
  return (old[1] == ARGV[1] and old[2] == ARGV[2]) and 1 or 0
end
-- An epoch is the time of its claim, in microseconds.
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', ARGV[3],
  'user', ARGV[4], 'since', string.format('%.0f', math.floor(ARGV[3] / 1000000)),
  'address', ARGV[5])
return 1
