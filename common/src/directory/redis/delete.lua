-- Deletes a client's row if this incarnation owns it, and under this epoch if one is given.
-- KEYS[1]: the client's row. ARGV: node, incarnation, and perhaps epoch.
-- Returns the user of the deleted row, or nothing.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'user')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] then return false end
if ARGV[3] and row[3] ~= ARGV[3] then return false end
redis.call('DEL', KEYS[1])
return row[4]
