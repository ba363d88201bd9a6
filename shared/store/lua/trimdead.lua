-- Bounds dead letters, and those that wait: the oldest go, and the newest always stays.
--
-- KEYS[...] streams, or what else the keys hold   ARGV[1] entries kept of each   ARGV[2] bytes of each; where Redis does not tell
-- them only the entries are bounded
-- Result: how many have gone.
local most, gone = tonumber(ARGV[2]), 0
for _, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'stream' then
    gone = gone + redis.call('XTRIM', key, 'MAXLEN', ARGV[1])
    local left = redis.call('XLEN', key)
    local bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 0)
    while left > 1 and type(bytes) == 'number' and bytes > most do
      -- As if they were alike, and an eighth at least: so there are few rounds, and none for each letter that comes.
      left = math.max(1, math.floor(left * math.min(most / bytes, 7 / 8)))
      gone = gone + redis.call('XTRIM', key, 'MAXLEN', left)
      bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 0)
    end
  end
end
return gone
