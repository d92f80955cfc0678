-- Nothing of a session is left on a node: takes it out of the list, if no claim has been made since.
-- KEYS[1]: the client's row. ARGV: node, epoch of the last claim that the node knows of.
local row = redis.call('HMGET', KEYS[1], 'epoch', 'left_on')
if row[1] ~= ARGV[2] or not row[2] then return end
local rest = without(row[2], ARGV[1])
if rest == '' then
  redis.call('HDEL', KEYS[1], 'left_on')
else
  redis.call('HSET', KEYS[1], 'left_on', rest)
end
