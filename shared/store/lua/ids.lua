-- Stands before every script that compares ids (scripts.go).
--
-- above(a, b): id a is higher than b, both as "ms-seq". What is no id is below all that
-- are, and none of two that are no ids is above the other (table.sort needs an order). A
-- number in decimal without leading zeros is larger when it is longer.
local function above(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  if not ams or not bms then return ams ~= nil end
  local function gt(x, y)
    if #x ~= #y then return #x > #y end
    return x > y
  end
  if ams ~= bms then return gt(ams, bms) end
  return gt(aseq, bseq)
end

