-- Tells functions of events that no device has acknowledged in time. Those that one has are not there any more (cursor.lua). What
-- devices have acknowledged may still wait in the acks: as long as that is so, only what was due before counts as due.
--
-- KEYS[1] calls   KEYS[2] events that wait, by when they are due   KEYS[3] the same by user and id   KEYS[4] acks
-- ARGV[1] the workers' group of the acks   ARGV: for each event its name in the sets, its user, its id, the id and the trace of
-- what functions are told
-- Result: how many were told.
local wrong = wrongType({'stream', 'zset', 'zset'}) -- before anything is changed
if wrong then
  return wrong
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local acks = redis.call('TYPE', KEYS[4]).ok == 'stream'
if acks then
  local done, oldest = '0-0', nil
  for _, g in ipairs(redis.call('XINFO', 'GROUPS', KEYS[4])) do
    local f = {}
    for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
    if f['name'] == ARGV[1] then
      done = string.match(f['last-delivered-id'], '^%d+%-%d+$') or '0-0' -- the embedded Redis keeps "0"
      local pending = redis.call('XPENDING', KEYS[4], ARGV[1])
      if pending[1] > 0 then oldest = pending[2] end
    end
  end
  if not oldest then
    local next = redis.call('XRANGE', KEYS[4], done, '+', 'COUNT', 2)
    for _, e in ipairs(next) do
      if not oldest and above(e[1], done) then oldest = e[1] end
    end
  end
  if oldest then
    now = math.min(now, tonumber(string.match(oldest, '^%d+')) - 1)
  end
end
local told = 0
for i = 2, #ARGV, 5 do
  local due = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if due and tonumber(due) <= now then
    redis.call('XADD', KEYS[1], '*', 'kind', 'unread', 'id', ARGV[i + 3], 'user', ARGV[i + 1], 'seq', 1, 'event', ARGV[i + 2], 'traceparent', ARGV[i + 4])
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[i])
    told = told + 1
  end
end
return told
