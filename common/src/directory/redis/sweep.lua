-- Deletes a client's row if this incarnation owns it and no will is in it.
-- KEYS[1]: the client's row. ARGV: node, incarnation, how long its trace stays (seconds).
-- Returns 'deleted' and the row's user; or 'kept', for the sake of a will; or nothing if the row is
-- another's.
local row = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'user', 'will_qos', 'owed')
if row[1] ~= ARGV[1] or row[2] ~= ARGV[2] then return false end
if row[4] or row[5] then return {'kept', false} end
let_go(KEYS[1], ARGV[3], false)
return {'deleted', row[3]}
