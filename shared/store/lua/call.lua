-- Adds an event of a connection for functions: that it is there, a call, that it has ended.
--
-- KEYS[1] calls   KEYS[2] what is known of the user's connections   KEYS[3] connections that are watched
-- KEYS[4] users that may have left
-- ARGV[1] 'begin', 'call' or 'end'   ARGV[2] the connection   ARGV[3] how it is watched
-- ARGV[4] when to look for it next, in ms   ARGV[5] '1': a call needs a begin before it
-- ARGV[6] how many calls of the user may wait   ARGV[7] 'tell': functions hear that the user has come; 'note': it is only
-- noted; '': no function hears of users   ARGV[8] Redis's time in ms   ARGV[9] the state with which it begins, '' for none
-- ARGV[10] its trace   ARGV[11...] fields and values of the event; none: there is none
-- Result: 1; 0: nothing was done, since the connection is known already (begin), is not known (end), or its end has been
-- told (call, end); -1: nothing was done, since too many calls of the user wait.
--
-- Known is the number of the connection's last event, or '-' from its end on until the function has heard of that. The field
-- ' waiting' counts the user's calls that are not finished; ' online' is the connection with which the user came. '<connection> called'
-- is there as long as functions have not heard of its begin, which may still be told: '1', and a call was all that was heard of the
-- connection, so its end is not told; 'begun', and its begin was noted.
local is, known = ARGV[1], redis.call('HGET', KEYS[2], ARGV[2])
local user = string.match(ARGV[3], '^[^ ]+')
if is == 'begin' and known ~= '-' and ARGV[7] ~= '' and redis.call('HSETNX', KEYS[2], ' online', ARGV[2]) == 1 and ARGV[7] == 'tell' then
  redis.call('XADD', KEYS[1], '*', 'kind', 'online', 'id', 'online:' .. ARGV[2], 'user', user, 'seq', 1, 'traceparent', ARGV[10])
end
local mark = ARGV[2] .. ' called'
local heard = redis.call('HGET', KEYS[2], mark)
if known == '-' or (is == 'begin' and known and not heard) or (is == 'begin' and heard == 'begun' and not ARGV[11]) or (is == 'end' and not known) or (is == 'call' and not known and ARGV[5] == '1') then
  return 0
end
if is == 'call' then
  if redis.call('HINCRBY', KEYS[2], ' waiting', 1) > tonumber(ARGV[6]) then
    redis.call('HINCRBY', KEYS[2], ' waiting', -1)
    return -1
  end
end
if not known then
  redis.call('HSET', KEYS[2], ARGV[2], 0)
  if is == 'call' then
    redis.call('HSET', KEYS[2], mark, 1)
  end
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
  if ARGV[9] ~= '' then
    redis.call('HSET', KEYS[2], ARGV[2] .. ' state', ARGV[9])
  end
end
local told = ARGV[11] and not (is == 'end' and heard == '1')
if is == 'begin' and not told then
  redis.call('HSET', KEYS[2], mark, 'begun')
elseif is ~= 'call' then
  redis.call('HDEL', KEYS[2], mark)
end
if told then
  redis.call('XADD', KEYS[1], '*', 'seq', redis.call('HINCRBY', KEYS[2], ARGV[2], 1), unpack(ARGV, 11))
end
if is == 'end' then
  redis.call('ZREM', KEYS[3], ARGV[3])
  if told then
    redis.call('HSET', KEYS[2], ARGV[2], '-')
  else
    redis.call('HDEL', KEYS[2], ARGV[2], ARGV[2] .. ' state')
  end
  if ARGV[7] == '' then
    redis.call('HDEL', KEYS[2], ' online')
  elseif redis.call('HGET', KEYS[2], ' online') then
    redis.call('ZADD', KEYS[4], ARGV[8], user)
  end
end
return 1
