-- Nothing is left of an incarnation: deletes the node's row if it is this one's, names no former life, and
-- its lease has ended for long enough; takes it out of the row of a younger one.
-- KEYS[1]: the node's row. ARGV: incarnation, how long (microseconds).
-- Returns 1 if no row is left under this name, else 0.
local row = redis.call('HMGET', KEYS[1], 'incarnation', 'lease_until_us', 'former')
if not row[1] then return 1 end
if row[1] ~= ARGV[1] then
  local former = ''
  for life in string.gmatch(row[3] or '', '%d+') do
    if life ~= ARGV[1] then former = former .. life .. ' ' end
  end
  redis.call('HSET', KEYS[1], 'former', former)
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now - row[2] < tonumber(ARGV[2]) or string.find(row[3] or '', '%d') then return 0 end
return redis.call('DEL', KEYS[1])
