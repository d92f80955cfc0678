-- Deletes a client's row if this incarnation owns it under this epoch; with wills that are owed it goes when
-- they are settled.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, 1 if its will is to be published, how long its
-- trace stays (seconds).
-- Returns the wills that are held for the caller now, and 1 if the row is gone; or nothing if it is another's.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch',
  'will_topic', 'will_qos', 'will_retain', 'will_payload', 'owed', 'held_until_us')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or row[3] ~= ARGV[3] then return false end
local wills = end_connection(KEYS[1], row, ARGV[4])
if row[8] or #wills > 0 then
  redis.call('HSET', KEYS[1], 'goes', 'released')
  return {wills, 0}
end
let_go(KEYS[1], ARGV[5], true)
return {wills, 1}
