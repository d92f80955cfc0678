-- Marks a client as gone and takes its will out, if this incarnation owns it under this epoch.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch.
-- Returns topic, QoS, retain and payload of its will if any; or nothing if it is another's, or somebody
-- holds its will.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or row[3] ~= ARGV[3] then return false end
local time = redis.call('TIME')
if is_held(row[8], time[1] * 1000000 + time[2]) then return false end
redis.call('HSET', KEYS[1], 'connected', 0)
redis.call('HDEL', KEYS[1], 'will_topic', 'will_qos', 'will_retain', 'will_payload', 'held_until_us')
return {unpack(row, 4, 7)}
