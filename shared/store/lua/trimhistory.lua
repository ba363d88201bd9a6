-- Trims a history that has more than so many bytes: the oldest entries go, the newest one
-- always stays. What is read here is what goes, and the two ends.
--
-- KEYS[1] history   ARGV[1] bytes that it may have   ARGV[2] bytes to which it is trimmed
-- Result: the bytes of what is left.
local oldest, newest = ends(KEYS[1])
if not oldest then return 0 end
local most, left = tonumber(ARGV[1]), tonumber(ARGV[2])
local size = bytes(oldest, newest)
if size and size <= most then return size end

if not size or not oldest.sum then
  local total, keep, kept = walk(KEYS[1], newest.id, most, left)
  if total <= most then return total end
  redis.call('XTRIM', KEYS[1], 'MINID', keep)
  return kept
end

local from, keep = '-', newest.id
repeat
  local list = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 16)
  for i = 1, #list do
    local e = look(list[i])
    keep = e.id
    if size <= left or e.id == newest.id then
      list = {}
      break
    end
    size = size - e.size
    from = '(' .. e.id
  end
until #list == 0
redis.call('XTRIM', KEYS[1], 'MINID', keep)
return size
