-- Where a session may have been, for the scripts that this stands in front of: the last claim of another node than
-- this one, given the last claim and what it was told; and lists of nodes that parts of it may be left on: names,
-- each followed by a space.
local function elsewhere(node, last_on, last_epoch, before_on, before_epoch)
  if last_on and last_on ~= node then return {last_on, last_epoch} end
  return before_on and {before_on, before_epoch} or {}
end
-- Writes that down for the next one, unless the last claim was a clean login: what that has erased is told once.
local function keep_elsewhere(key, before, erased, last_epoch)
  if before[1] and erased ~= last_epoch then
    redis.call('HSET', key, 'before_on', before[1], 'before_epoch', before[2])
  end
end
local function without(names, name)
  local rest = ''
  for each in string.gmatch(names or '', '%S+') do
    if each ~= name then rest = rest .. each .. ' ' end
  end
  return rest
end
-- What is known once the row of this owner is no longer the last: it may keep a part, if its session is durable.
local function and_owner(names, owner, durable)
  if not owner or durable ~= '1' then return names or '' end
  return without(names, owner) .. owner .. ' '
end
