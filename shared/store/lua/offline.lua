-- Tells functions that a user has left who has had no connection for long enough.
--
-- KEYS[1] calls   KEYS[2] what is known of the user's connections   KEYS[3] users that may have left, by when the last one ended
-- ARGV[1] the user   ARGV[2] that is long enough ago, in ms   ARGV[3] '1': functions hear of it   ARGV[4] the trace of that
-- Result: 1 if the user has left; else 0.
local wrong = wrongType({'stream', 'hash', 'zset'}) -- before anything is changed
if wrong then
  return wrong
end
local ended = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not ended or tonumber(ended) > tonumber(ARGV[2]) then
  return 0
end
local came = redis.call('HGET', KEYS[2], ' online')
local left = came and 1 or 0
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do -- names of connections have no spaces
  if all[i + 1] ~= '-' and not string.find(all[i], ' ', 1, true) then
    left = 0
  end
end
if left == 1 and ARGV[3] == '1' then -- first: a stream that ends at the highest id takes nothing, and then nothing is changed
  redis.call('XADD', KEYS[1], '*', 'kind', 'offline', 'id', 'offline:' .. came, 'user', ARGV[1], 'seq', 2, 'traceparent', ARGV[4])
end
redis.call('ZREM', KEYS[3], ARGV[1])
if left == 1 then
  redis.call('HDEL', KEYS[2], ' online')
end
return left
