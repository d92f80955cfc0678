-- Lists of nodes that parts of a session may be left on, for the scripts that this stands in front of: names,
-- each followed by a space.
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
