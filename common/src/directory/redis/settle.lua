-- Removes a will that was held and is published; with the last one the row, if that is due.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, the epoch of the will, how long its trace stays
-- (seconds).
-- Returns the row's user if it is gone.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'owed', 'goes', 'user')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] or row[3] ~= ARGV[3] or not row[4] then return false end
local rest = {}
for _, will in ipairs(unpacked(row[4])) do
  if will[1] ~= ARGV[4] then rest[#rest + 1] = will end
end
if #rest > 0 then
  redis.call('HSET', KEYS[1], 'owed', cmsgpack.pack(rest))
  return false
end
redis.call('HDEL', KEYS[1], 'owed', 'held_until_us', 'goes')
if not row[5] then return false end
let_go(KEYS[1], ARGV[5], row[5] == 'released')
return row[6]
