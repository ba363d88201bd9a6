-- Ends an event for functions: one time, whoever has it.
--
-- KEYS[1] calls   KEYS[2] what is known of the user's connections
-- ARGV[1] the event's id   ARGV[2] the connection   ARGV[3] 'keep', 'set' or 'drop' what is known   ARGV[4] the state
-- ARGV[5] '1': it is a call, and one less waits
-- Result: 1; 0: it was ended before, and nothing was done.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[5] == '1' and redis.call('HEXISTS', KEYS[2], ' waiting') == 1 and redis.call('HINCRBY', KEYS[2], ' waiting', -1) <= 0 then
  redis.call('HDEL', KEYS[2], ' waiting')
end
if ARGV[3] == 'drop' then
  redis.call('HDEL', KEYS[2], ARGV[2], ARGV[2] .. ' state')
elseif ARGV[3] == 'set' and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[2] .. ' state', ARGV[4])
end
return 1
