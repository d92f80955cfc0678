-- Holds the wills in a client's row, if this incarnation owns it and nobody holds them.
-- KEYS[1]: the client's row. ARGV: node, incarnation.
-- Returns the row's epoch and a list of the wills; or nothing if there is none to take.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'owed', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or not (row[5] or row[8]) then return false end
local time = redis.call('TIME')
if is_held(row[9], time[1] * 1000000 + time[2]) then return false end
local wills = end_connection(KEYS[1], row, '1')
redis.call('HSETNX', KEYS[1], 'goes', 'swept')
return {row[3], wills}
