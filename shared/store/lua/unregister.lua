-- Removes session fields as far as their gateway wrote them, and not later than it says:
-- so a command that comes late cannot remove a newer registration, and one of which the
-- reply was lost is removed as well.
--
-- KEYS[1] session hash   KEYS[2] what is known of its fields   ARGV: field, server, expires-unix-ms, field, server, ...
-- Result: how many were removed; none of a key that holds no hash.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return 0
end
local removed = 0
for i = 1, #ARGV, 3 do
  local server, expires = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^(.*) (%d+)$')
  if server == ARGV[i + 1] and tonumber(expires) <= tonumber(ARGV[i + 2]) then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
    redis.pcall('HDEL', KEYS[2], ARGV[i])
  end
end
return removed
