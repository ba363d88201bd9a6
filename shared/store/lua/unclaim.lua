-- Gives up the idempotency key of an event that became a dead letter, so that the
-- event can be put back.
--
-- KEYS[1] idempotency key   ARGV[1] id of the event
-- Result: 1, or 0 when the key was another event's.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then -- of another type it is nobody's
  return redis.call('DEL', KEYS[1])
end
return 0
