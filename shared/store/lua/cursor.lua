-- Changes cursors of a user. A cursor is an id; "<id> ended" was ended by its device, and
-- stays for a while so that acks of up to there, which may come later, do not bring it
-- back. When the hash is full, those give way first. Then the devices whose newest cursor
-- is the oldest lose all of theirs: to lose some would be a hole that the device cannot
-- know of.
--
-- KEYS[1] the user's cursors
-- ARGV[1] "move": forward, never back. "begin": only where there is none, or an ended one.
--         "restore": only where there is none, nor an ended one. "end": as above
-- KEYS[2], KEYS[3] of "move": what waits to be acknowledged, of all users, by when it is due, and by user and id (unread.lua)
-- ARGV[2] time to live in ms   ARGV[3] most fields
-- ARGV[4] until when it is to be done, in ms by Redis's clock; after that nothing is done. 0: at any time
-- ARGV[5] of "move": up to where a device has acknowledged the user's own target, as it stands in KEYS[3]; '': nothing of it
-- ARGV: for each cursor its field, "<device> <target>", and the id
-- Result: how many fields were evicted, how many events wait no more (1000 at most; there may be more), then for each cursor
-- 1: changed, 0: nothing to do, -1: no room. Nothing at all when the key holds no hash.
local read = 0
if ARGV[5] ~= '' and redis.call('EXISTS', KEYS[3]) == 1 then
  local list = redis.pcall('ZRANGE', KEYS[3], '[' .. string.match(ARGV[5], '^[^ ]+ '), '[' .. ARGV[5], 'BYLEX', 'LIMIT', 0, 1000)
  if #list > 0 then -- an error has no elements
    redis.pcall('ZREM', KEYS[2], unpack(list))
    redis.call('ZREM', KEYS[3], unpack(list))
    read = #list
  end
end
local size = redis.pcall('HLEN', KEYS[1])
if type(size) ~= 'number' then
  return {}
end

local verb, limit, latest = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
if latest > 0 then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > latest then
    return {0}
  end
end
-- some more than needed, so that not every new field looks at all others
local low = limit - limit / 8

local function split(value)
  local id = string.match(value, '^(%S+) ended$')
  return id or value, id ~= nil
end

local function delete(fields, gone)
  for i = 1, #fields, 1000 do
    gone = gone + redis.call('HDEL', KEYS[1], unpack(fields, i, math.min(i + 999, #fields)))
  end
  return gone
end

local function evict(spared)
  local all = redis.call('HGETALL', KEYS[1])
  local devices, newest, fields, over = {}, {}, {}, {}
  for i = 1, #all, 2 do
    local device = string.match(all[i], '^[^ ]*')
    local id, ended = split(all[i + 1])
    if ended then
      over[#over + 1] = all[i]
    elseif device ~= spared then
      if not fields[device] then
        devices[#devices + 1], newest[device], fields[device] = device, id, {}
      elseif above(id, newest[device]) then
        newest[device] = id
      end
      table.insert(fields[device], all[i])
    end
  end
  size = size - delete(over, 0)
  table.sort(devices, function(a, b) return above(newest[b], newest[a]) end)
  local gone = 0
  for _, device in ipairs(devices) do
    if size - gone <= low then break end
    gone = delete(fields[device], gone)
  end
  size = size - gone
  return gone
end

local out, looked = {0, read}, {}
for i = 6, #ARGV, 2 do
  local field, id = ARGV[i], ARGV[i + 1]
  local value = redis.call('HGET', KEYS[1], field)
  local old, ended
  if value then old, ended = split(value) end
  local wanted
  if verb == 'begin' then
    wanted = (not old or ended) and id
  elseif verb == 'restore' then
    wanted = not old and id
  elseif verb == 'end' then
    wanted = not ended and ((old and above(old, id)) and old or id) .. ' ended'
  else
    wanted = (not old or above(id, old)) and id
  end
  local result = 0
  if wanted then
    local device = string.match(field, '^[^ ]*')
    if not old and size >= limit and not looked[device] then
      looked[device] = true
      out[1] = out[1] + evict(device)
    end
    if not old and size >= limit then
      result = -1
    else
      size, result = size + redis.call('HSET', KEYS[1], field, wanted), 1
    end
  end
  out[#out + 1] = result
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return out
