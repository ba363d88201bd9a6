-- Brings dead letters that waited to where they belong, if that holds no other type.
--
-- KEYS[1] dead letters   KEYS[2] where they wait
-- ARGV[1] how many are moved at most
-- Result: {how many were moved, what KEYS[1] holds}
local holds = redis.call('TYPE', KEYS[1]).ok
if holds ~= 'none' and holds ~= 'stream' then
  return {0, holds}
end
local moved = 0
for _, letter in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[1])) do
  redis.call('XADD', KEYS[1], '*', unpack(letter[2]))
  redis.call('XDEL', KEYS[2], letter[1])
  moved = moved + 1
end
return {moved, holds}
