-- Ends an event for functions: one time, whoever has it.
--
-- KEYS[1] calls   KEYS[2] what is known of the user's connections   KEYS[3] answers to the user's calls
-- ARGV[1] the event's id   ARGV[2] the connection   ARGV[3] 'keep', 'set' or 'drop' what is known   ARGV[4] the state
-- ARGV[5] '1': it is a call, and one less waits   ARGV[6] the key of a call without a connection, else ''
-- ARGV[7] its answer, as it is kept; '': none, and the call may be repeated
-- ARGV[8] how long answers are kept, in ms   ARGV[9] how many of the user   ARGV[10] their bytes
-- Result: 1; 0: it was ended before, and nothing was done.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[3] == 'drop' then
  redis.call('HDEL', KEYS[2], ARGV[2], ARGV[2] .. ' state')
elseif ARGV[3] == 'set' and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[2] .. ' state', ARGV[4])
end
if ARGV[5] ~= '1' then
  return 1
end

-- The oldest answers give way, a quarter of all at once; what waits stays.
local function evict(most, bytes)
  local all, answers, size = redis.call('HGETALL', KEYS[3]), {}, 0
  for i = 1, #all, 2 do
    local ms = string.match(all[i + 1], '^=(%d+) ')
    if ms then
      local n = #all[i] + #all[i + 1]
      size = size + n
      answers[#answers + 1] = {all[i], tonumber(ms), n}
    end
  end
  table.sort(answers, function(a, b) return a[2] < b[2] end)
  local left = #answers
  for _, a in ipairs(answers) do
    if left <= most * 3 / 4 and size <= bytes * 3 / 4 then break end
    redis.call('HDEL', KEYS[3], a[1])
    left, size = left - 1, size - a[3]
  end
  redis.call('HSET', KEYS[3], 'bytes', size)
end

local field = ':' .. ARGV[6]
if ARGV[6] ~= '' and ARGV[7] == '' then
  redis.call('HDEL', KEYS[3], field)
elseif ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], field, ARGV[7])
  local bytes = redis.call('HINCRBY', KEYS[3], 'bytes', #field + #ARGV[7])
  if bytes > tonumber(ARGV[10]) or redis.call('HLEN', KEYS[3]) > tonumber(ARGV[9]) then
    evict(tonumber(ARGV[9]), tonumber(ARGV[10]))
  end
end
if redis.call('HEXISTS', KEYS[2], ' waiting') == 0 or redis.call('HINCRBY', KEYS[2], ' waiting', -1) <= 0 then
  redis.call('HDEL', KEYS[2], ' waiting')
  redis.call('PEXPIRE', KEYS[3], ARGV[8])
end
return 1
