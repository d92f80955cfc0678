-- Takes a client's row away, for the scripts that this stands in front of. Where a durable session was,
-- a trace stays for so many seconds: a row without owner, with its epoch and the last erasure.
local function let_go(key, kept_secs)
  local row = redis.call('HMGET', key, 'epoch', 'durable', 'erased')
  redis.call('DEL', key)
  if row[2] ~= '1' and not row[3] then return end
  redis.call('HSET', key, 'epoch', row[1])
  if row[3] then redis.call('HSET', key, 'erased', row[3]) end
  redis.call('EXPIRE', key, kept_secs)
end
