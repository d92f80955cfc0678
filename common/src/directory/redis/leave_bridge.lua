-- Deletes a bridge's row if it is this life's.
-- KEYS[1]: the bridges. ARGV: name, incarnation.
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or string.match(old, '^%d+') ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
