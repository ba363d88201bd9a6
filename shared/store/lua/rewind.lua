-- Lowers the mark of what was forwarded, if nobody has moved it meanwhile.
--
-- KEYS[1] forwarded   ARGV[1] the id that it holds   ARGV[2] the lower id
-- Result: 1, or 0 when it holds another id.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
