-- Moves cursors of a user forward, never back. When the hash is full, the devices
-- whose newest cursor is the oldest lose all of theirs: to lose some would be a hole
-- that the device cannot know of.
--
-- KEYS[1] the user's cursors
-- ARGV[1] time to live in ms   ARGV[2] most fields
-- ARGV: for each cursor its field, "<device> <target>", and the id
-- Result: how many fields were evicted, then for each cursor 1: moved, 0: there already,
-- -1: no room. Nothing at all when the key holds no hash.
local size = redis.pcall('HLEN', KEYS[1])
if type(size) ~= 'number' then
  return {}
end

local limit = tonumber(ARGV[2])

local function evict(spared)
  local all = redis.call('HGETALL', KEYS[1])
  local devices, newest, fields = {}, {}, {}
  for i = 1, #all, 2 do
    local device = string.match(all[i], '^[^ ]*')
    if device ~= spared then
      if not fields[device] then
        devices[#devices + 1], newest[device], fields[device] = device, all[i + 1], {}
      elseif above(all[i + 1], newest[device]) then
        newest[device] = all[i + 1]
      end
      table.insert(fields[device], all[i])
    end
  end
  table.sort(devices, function(a, b) return above(newest[b], newest[a]) end)
  local gone = 0
  for _, device in ipairs(devices) do
    -- some more than needed, so that not every new field looks at all others
    if size - gone <= limit - limit / 8 then break end
    for i = 1, #fields[device], 1000 do
      gone = gone + redis.call('HDEL', KEYS[1], unpack(fields[device], i, math.min(i + 999, #fields[device])))
    end
  end
  return gone
end

local out, looked = {0}, {}
for i = 3, #ARGV, 2 do
  local field, id = ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', KEYS[1], field)
  local result = 0
  if not old or above(id, old) then
    local device = string.match(field, '^[^ ]*')
    if not old and size >= limit and not looked[device] then
      looked[device] = true
      local gone = evict(device)
      size, out[1] = size - gone, out[1] + gone
    end
    if not old and size >= limit then
      result = -1
    else
      size, result = size + redis.call('HSET', KEYS[1], field, id), 1
    end
  end
  out[#out + 1] = result
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return out
