-- Marks a client as gone, if this incarnation owns it under this epoch.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, 1 if its will is to be published.
-- Returns the wills that are held for the caller now, and 0; or nothing if the row is another's.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'owed', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or row[3] ~= ARGV[3] then return false end
return {end_connection(KEYS[1], row, ARGV[4]), 0}
