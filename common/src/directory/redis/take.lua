-- Deletes a client's row if this incarnation owns it and a will is in it.
-- KEYS[1]: the client's row. ARGV: node, incarnation, how long its trace stays (seconds).
-- Returns the row's user, then topic, QoS, retain and payload of its will; or nothing if there is
-- none to take.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'user',
  'will_topic', 'will_qos', 'will_retain', 'will_payload')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or not row[5] then return false end
let_go(KEYS[1], ARGV[3])
return {row[3], {unpack(row, 4, 7)}}
