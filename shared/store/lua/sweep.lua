-- Removes the expired fields of a session hash.
--
-- KEYS[1] session hash   KEYS[2] what is known of its fields   ARGV[1] Redis's time in ms
-- Result: how many were removed.
local removed = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local expires = string.match(all[i + 1], ' (%d+)$')
  if not expires or tonumber(expires) < tonumber(ARGV[1]) then
    removed = removed + redis.call('HDEL', KEYS[1], all[i])
    redis.pcall('HDEL', KEYS[2], all[i])
  end
end
return removed
