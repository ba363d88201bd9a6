-- Trims an ingress stream up to what is acknowledged, unless it has been deleted and begun
-- again with lower ids: what is in it then has not been read.
--
-- KEYS[1] stream   ARGV[1] the last id acknowledged   ARGV[2] the id after it
-- Result: how many entries were removed.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' and above(ARGV[1], info[i + 1]) then
    return 0
  end
end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
