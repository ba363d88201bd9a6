-- Looks after a connection that is watched: one whose session has ended, and whose gateway has not said so, is lost.
--
-- KEYS[1] session hash   KEYS[2] connections that are watched
-- ARGV[1] the connection   ARGV[2] how it is watched   ARGV[3] Redis's time in ms   ARGV[4] ms to wait after the session's end
-- Result: 1 if it is lost; 0: it is looked for again. So it is behind the others when the key of the sessions holds another type, with that error.
local value = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(value) == 'table' then
  redis.call('ZADD', KEYS[2], 'XX', tonumber(ARGV[3]) + tonumber(ARGV[4]), ARGV[2])
  return value
end
local expires = value and string.match(value, ' (%d+)$')
if expires and tonumber(expires) + tonumber(ARGV[4]) >= tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[2], 'XX', tonumber(expires) + tonumber(ARGV[4]), ARGV[2])
  return 0
end
return 1
