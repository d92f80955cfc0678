-- Deletes a client's row if this incarnation owns it under this epoch.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, how long its trace stays (seconds).
-- Returns topic, QoS, retain and payload of its will if any; or nothing if it is another's, or somebody
-- holds its will.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or row[3] ~= ARGV[3] then return false end
local time = redis.call('TIME')
if is_held(row[8], time[1] * 1000000 + time[2]) then return false end
let_go(KEYS[1], ARGV[4], true)
return {unpack(row, 4, 7)}
