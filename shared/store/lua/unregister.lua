-- Removes a session field if it still holds what its gateway last wrote, so that a
-- command that comes late cannot remove a newer registration.
--
-- KEYS[1] session hash   ARGV: field, value, field, value, ...
-- Result: how many were removed.
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
