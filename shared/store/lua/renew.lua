-- Renews a lease that is still the worker's own.
--
-- KEYS[1] lease   ARGV[1] worker   ARGV[2] lease in ms
-- Result: 1, or 0 when it is another's or has expired.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
