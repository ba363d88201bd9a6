-- Adds a dead letter, once for each entry of a stream. The mark comes last: should the
-- append fail, a repeat must not take the letter for added.
--
-- KEYS[1] mark of this entry   KEYS[2] dead letters
-- KEYS[3] where they wait while KEYS[2] holds something else
-- ARGV[1] how long the mark lives, in ms   ARGV[2...] fields and values
-- Result: 1; 2 when it waits; 0 when it was there already.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local to, result = KEYS[2], 1
local holds = redis.call('TYPE', to).ok
if holds ~= 'none' and holds ~= 'stream' then
  to, result = KEYS[3], 2
end
redis.call('XADD', to, '*', unpack(ARGV, 2))
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return result
