-- Gives a lease up if it is still the worker's own. The group stays: whoever comes
-- next moves the term.
--
-- KEYS[1] lease   ARGV[1] worker
-- Result: 1, or 0 when it was not the worker's.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
