-- Lets an event wait to be acknowledged, before it is appended to its history: so it waits once, whoever tries again.
--
-- KEYS[1] the history   KEYS[2] events that wait, by when they are due   KEYS[3] the same by user and id
-- ARGV[1] the event's id   ARGV[2] '1': without a history it is not appended   ARGV[3] its name in both sets
-- ARGV[4] how long it waits, in ms   ARGV[5] how many may wait   ARGV[6] and how many of a user
-- ARGV[7] how long all are kept after the last one has come, in ms
-- Result: 1: it waits; 0: it does not, since it is in the history or will not be; -1: too many wait.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest and not above(ARGV[1], newest[1]) or not newest and ARGV[2] == '1' then
  return 0
end
local user = string.match(ARGV[3], '^[^ ]+') -- names of users have neither a space nor a '!', which comes next to it
local own = redis.call('ZLEXCOUNT', KEYS[3], '[' .. user .. ' ', '(' .. user .. '!') -- first: if this key holds another type, nothing is done
if own >= tonumber(ARGV[6]) or redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
  return -1
end
local now = redis.call('TIME')
redis.call('ZADD', KEYS[3], 0, ARGV[3])
redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
redis.call('PEXPIRE', KEYS[3], ARGV[7])
return 1
