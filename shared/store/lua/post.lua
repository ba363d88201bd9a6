-- Adds a call that comes without a connection, unless one of its key waits or was answered.
--
-- KEYS[1] calls   KEYS[2] what is known of the user's connections   KEYS[3] answers to the user's calls
-- ARGV[1] the key   ARGV[2] how many calls of the user may wait   ARGV[3] how old an answer may be: from when on it counts, in ms
-- ARGV[4...] fields and values of the event
-- Result: "=<ms> <answer>": it was answered; "-": too many calls of the user wait; "": it waits, from now on or since before.
--
-- Known of a key is the answer, in this form, or the id of the event that waits.
local field = ':' .. ARGV[1]
local known = redis.call('HGET', KEYS[3], field)
if known then
  local ms = string.match(known, '^=(%d+) ')
  if ms and tonumber(ms) >= tonumber(ARGV[3]) then
    return known
  end
  if not ms and #redis.call('XRANGE', KEYS[1], known, known) > 0 then
    return ''
  end
end
if redis.call('HINCRBY', KEYS[2], ' waiting', 1) > tonumber(ARGV[2]) then
  redis.call('HINCRBY', KEYS[2], ' waiting', -1)
  return '-'
end
redis.call('HSET', KEYS[3], field, redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4)))
redis.call('PEXPIRE', KEYS[3], 345600000) -- four days, longer than anything is tried; shorter once nothing waits
return ''
