-- Makes a node the owner of a client id, whoever owned it before.
-- KEYS[1]: the client's row. ARGV: node, incarnation, user, address.
-- Returns the new epoch, then node, incarnation, epoch and user of the old row if any.
local old = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'user')
local time = redis.call('TIME')
-- Not old + 1 alone: a directory that has lost its rows must not give an epoch twice.
local epoch = math.max(tonumber(old[3] or 0) + 1, time[1] * 1000000 + time[2])
local text = string.format('%.0f', epoch)
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', text,
  'user', ARGV[3], 'since', time[1], 'address', ARGV[4])
return {text, old[1], old[2], old[3], old[4]}
