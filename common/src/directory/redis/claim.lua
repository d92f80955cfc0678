-- Makes a node the owner of a client id, whoever owned it before; for a login that was a while ago only if
-- no other node has claimed it since.
-- KEYS[1]: the client's row. ARGV: node, incarnation, user, address, connected (1 or 0), durable
-- (1 or 0), the time within which a claim is a contest (microseconds); how long ago the login was
-- (microseconds; 0: now); and, with a will, its topic, QoS, retain (1 or 0) and payload.
-- Returns the new epoch, 0 if the claim was not made; how many contests in a row; node, incarnation, epoch,
-- user, address, connected and durable of the old row if any, of its trace the epoch; the wills that are owed from now on, held;
-- the epoch of the last clean login before, if it is remembered; the other nodes that parts of the session may be
-- left on; the last claim of another node. Or nothing while somebody holds wills of the old row.
local old = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'user', 'address',
  'connected', 'durable', 'contests', 'will_topic', 'will_qos', 'will_retain', 'will_payload',
  'erased', 'held_until_us', 'left_on', 'was_on', 'owed', 'before_on', 'before_epoch')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- An epoch is the time of its claim, or a little ahead of it.
if ARGV[8] ~= '0' and old[1] and old[1] ~= ARGV[1] and now - old[3] < tonumber(ARGV[8]) then
  return {'0', 0, {unpack(old, 1, 7)}, {}, false, '', {}}
end
if is_held(old[14], now) then return false end
-- Not old + 1 alone: a directory that has lost its rows must not give an epoch twice.
local epoch = math.max(tonumber(old[3] or 0) + 1, now)
local text = string.format('%.0f', epoch)
local contests = 0
if old[6] == '1' and math.abs(now - old[3]) < tonumber(ARGV[7]) then
  contests = tonumber(old[8] or 0) + 1
end
-- A trace (see let_go.lua) has no owner.
local is_trace = old[3] and not old[1]
local erased = old[7] == '0' and old[3] or old[13]
local known = erased
if ARGV[6] == '0' then
  known = (is_trace or old[7] == '1' or old[13]) and text
end
local left_on = without(and_owner(old[15], old[1], old[7]), ARGV[1])
local before = elsewhere(ARGV[1], old[1] or old[16], old[3], old[18], old[19])
local owed = unpacked(old[17])
if old[10] then owed[#owed + 1] = {old[3], unpack(old, 9, 12)} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', text,
  'user', ARGV[3], 'since', time[1], 'address', ARGV[4], 'connected', ARGV[5],
  'durable', ARGV[6], 'contests', contests)
if known then redis.call('HSET', KEYS[1], 'erased', known) end
if left_on ~= '' then redis.call('HSET', KEYS[1], 'left_on', left_on) end
keep_elsewhere(KEYS[1], before, erased, old[3])
if ARGV[9] then
  redis.call('HSET', KEYS[1], 'will_topic', ARGV[9], 'will_qos', ARGV[10],
    'will_retain', ARGV[11], 'will_payload', ARGV[12])
end
if #owed > 0 then hold(KEYS[1], owed, now) end
return {text, contests, {unpack(old, 1, 7)}, owed, erased, left_on, before}
