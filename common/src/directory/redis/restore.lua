-- Writes a client's row that was lost, unless one of the same or a greater epoch stands there.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, user, address, connected (1 or 0),
-- durable (1 or 0); and, with a will, its topic, QoS, retain (1 or 0) and payload.
-- Returns nothing if the row belongs to this node and incarnation now, else node, incarnation and
-- epoch of its owner.
local old = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch')
if old[3] and tonumber(old[3]) >= tonumber(ARGV[3]) then
  return (old[1] ~= ARGV[1] or old[2] ~= ARGV[2]) and old
end
redis.call('DEL', KEYS[1])
-- An epoch is the time of its claim, in microseconds.
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', ARGV[3],
  'user', ARGV[4], 'since', string.format('%.0f', math.floor(ARGV[3] / 1000000)),
  'address', ARGV[5], 'connected', ARGV[6], 'durable', ARGV[7], 'contests', 0)
if ARGV[8] then
  redis.call('HSET', KEYS[1], 'will_topic', ARGV[8], 'will_qos', ARGV[9],
    'will_retain', ARGV[10], 'will_payload', ARGV[11])
end
return false
