-- Tells whether somebody holds a will, for the scripts that this stands in front of; in front of it stands
-- for how long, as held_us. A hold that ends later than any begun now is none: the clock was set back.
local function is_held(held_until, now)
  local left = tonumber(held_until or 0) - now
  return left > 0 and left <= held_us
end
