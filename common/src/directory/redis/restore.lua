-- Writes a client's row that was lost, unless one of the same or a greater epoch stands there, or its
-- session is durable and was erased since.
-- KEYS[1]: the client's row. ARGV: node, incarnation, epoch, user, address, connected (1 or 0),
-- durable (1 or 0); and, with a will, its topic, QoS, retain (1 or 0) and payload.
-- Returns node, incarnation and epoch of the row's owner, unless it belongs to this node and incarnation
-- now; the epoch of the last clean login, if it is remembered.
local old = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'durable', 'erased',
  'left_on', 'was_on', 'before_on', 'before_epoch')
local erased = old[4] == '0' and old[3] or old[5]
local nobody = {false, false, false}
-- A trace (see let_go.lua) has no owner, and holds nobody up.
if old[1] and tonumber(old[3]) >= tonumber(ARGV[3]) then
  local is_theirs = old[1] ~= ARGV[1] or old[2] ~= ARGV[2]
  return {is_theirs and {unpack(old, 1, 3)} or nobody, erased}
end
if ARGV[7] == '1' and erased and tonumber(erased) >= tonumber(ARGV[3]) then
  return {nobody, erased}
end
local left_on = without(and_owner(old[6], old[1], old[4]), ARGV[1])
local before = elsewhere(ARGV[1], old[1] or old[7], old[3], old[8], old[9])
redis.call('DEL', KEYS[1])
-- An epoch is the time of its claim, in microseconds.
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', ARGV[3],
  'user', ARGV[4], 'since', string.format('%.0f', math.floor(ARGV[3] / 1000000)),
  'address', ARGV[5], 'connected', ARGV[6], 'durable', ARGV[7], 'contests', 0)
if erased then redis.call('HSET', KEYS[1], 'erased', erased) end
if left_on ~= '' then redis.call('HSET', KEYS[1], 'left_on', left_on) end
keep_elsewhere(KEYS[1], before, erased, old[3])
if ARGV[8] then
  redis.call('HSET', KEYS[1], 'will_topic', ARGV[8], 'will_qos', ARGV[9],
    'will_retain', ARGV[10], 'will_payload', ARGV[11])
end
return {nobody, erased}
