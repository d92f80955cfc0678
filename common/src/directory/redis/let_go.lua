-- Takes a client's row away, for the scripts that this stands in front of. Where a durable session was,
-- a trace stays for so many seconds: a row without owner, with its epoch and where it was, the claim of another
-- node before, the last erasure, and the nodes that parts of a session may be left on; the owner among them unless
-- its session has ended.
local function let_go(key, kept_secs, has_ended)
  local row = redis.call('HMGET', key, 'epoch', 'durable', 'erased', 'left_on', 'node', 'before_on',
    'before_epoch')
  local left_on = row[4] or ''
  if not has_ended then left_on = and_owner(left_on, row[5], row[2]) end
  redis.call('DEL', key)
  if row[2] ~= '1' and not row[3] and left_on == '' then return end
  redis.call('HSET', key, 'epoch', row[1], 'was_on', row[5])
  if row[6] then redis.call('HSET', key, 'before_on', row[6], 'before_epoch', row[7]) end
  if row[3] then redis.call('HSET', key, 'erased', row[3]) end
  if left_on ~= '' then redis.call('HSET', key, 'left_on', left_on) end
  redis.call('EXPIRE', key, kept_secs)
end
