-- Deletes a client's row if this incarnation owns it under an epoch within the given range.
-- KEYS[1]: the client's row. ARGV: node, incarnation, least epoch, greatest epoch.
-- Returns the user of the deleted row, or nothing.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'user')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] then return false end
local epoch = tonumber(row[3])
if epoch < tonumber(ARGV[3]) or epoch > tonumber(ARGV[4]) then return false end
redis.call('DEL', KEYS[1])
return row[4]
