-- Keeps a user out, or lets it in again, unless something else was asked for later: by the intake, and from there to the
-- partition, what was asked for first may come last.
--
-- KEYS[1] what keeps the user out   KEYS[2] when that was asked for
-- ARGV[1] when this was asked for, in ms by Redis's clock   ARGV[2] ms for which it keeps the user out; 0: that is over
-- ARGV[3] the reason   ARGV[4] ms for which it is known at least when this was asked for
-- Result: 1; 0: something else was asked for later.
local last = redis.pcall('GET', KEYS[2])
last = type(last) == 'string' and tonumber(last) or 0
local time = redis.call('TIME')
if last > tonumber(ARGV[1]) and last <= time[1] * 1000 + time[2] / 1000 then -- above that it is of a clock that was set back since
  return 0
end
local left = tonumber(ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', math.max(left, tonumber(ARGV[4])))
if left > 0 then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
