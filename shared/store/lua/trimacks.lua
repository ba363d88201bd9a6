-- Trims an acks stream up to what every group has acknowledged: groups of other
-- services read it, too.
--
-- KEYS[1] acks   ARGV[1] the workers' group
-- Result: how many entries are left; one stays always.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end

local first, ours = nil, false
for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local f = {}
  for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
  local start = string.match(f['last-delivered-id'], '^%d+%-%d+$') or '0-0' -- the embedded Redis keeps "0"
  local pending = redis.call('XPENDING', KEYS[1], f['name'])
  if pending[1] > 0 and above(start, pending[2]) then
    start = pending[2]
  end
  if not first or above(first, start) then first = start end
  ours = ours or f['name'] == ARGV[1]
end
if ours then
  redis.call('XTRIM', KEYS[1], 'MINID', first)
end
return redis.call('XLEN', KEYS[1])
