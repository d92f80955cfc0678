-- Names the directory's memory: a name made once, and gone with everything else it held.
-- KEYS[1]: where the name is kept. Returns it.
local time = redis.call('TIME')
redis.call('SET', KEYS[1], time[1] .. '.' .. time[2], 'NX')
return redis.call('GET', KEYS[1])
