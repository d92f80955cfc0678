-- Deletes a client's row whose will was held and is published, if it is still this hold's.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, until when the will was held, how long its
-- trace stays (seconds).
-- Returns the row's user; or nothing if it is another's.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'held_until_us', 'user')
for at = 1, 4 do
  if row[at] ~= ARGV[at] then return false end
end
let_go(KEYS[1], ARGV[5], false)
return row[5]
