-- Holds the will in a client's row, if this incarnation owns it and nobody holds it.
-- KEYS[1]: the client's row. ARGV: node, incarnation.
-- Returns the row's epoch, until when the will is held (microseconds, 1970), and its topic, QoS, retain
-- and payload; or nothing if there is none to take.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or not row[5] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if is_held(row[8], now) then return false end
local held_until = string.format('%.0f', now + held_us)
redis.call('HSET', KEYS[1], 'held_until_us', held_until)
return {row[3], held_until, {unpack(row, 4, 7)}}
