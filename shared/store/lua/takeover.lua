-- Takes a stream's lease and moves its term: from here on only the new group can
-- read, and a deposed owner's next read answers NOGROUP.
--
-- KEYS[1] lease     KEYS[2] epoch     KEYS[3] stream
-- ARGV[1] worker    ARGV[2] lease in ms
-- ARGV[3] new consumer group          ARGV[4] prefix of all workers' groups
-- ARGV[5] Redis's time in ms    ARGV[6] the highest epoch that the worker knows of
--         No epoch is below these: they grow also when Redis has lost the key, or the
--         last takeovers (a failover), or the key holds no whole number.
-- Result: {epoch, last id that an earlier owner may have seen, id up to which all is
-- acknowledged}, or {0, owner, '0-0'} when another worker holds the lease.
--
-- What was seen is kept in the group, as the name of a consumer that reads nothing:
-- the group begins before the oldest pending entry again, so its own last id forgets
-- what was read beyond. There it also ends with the stream that it is about, whose
-- successor may give lower ids. No worker's name has a space.
local wrong = wrongType({'string', 'string', 'stream'}) -- before anything is changed
if wrong then
  return wrong
end

local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return {0, owner, '0-0'}
end

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local epoch = redis.call('GET', KEYS[2])
if not epoch or #epoch > 15 or not string.match(epoch, '^%d+$') then -- more digits a Lua number cannot count
  epoch = 0
end
epoch = math.max(tonumber(epoch) + 1, tonumber(ARGV[5]), tonumber(ARGV[6]) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', epoch))

local from, seen = nil, '0-0'
local groups = {}
if redis.call('EXISTS', KEYS[3]) == 1 then
  groups = redis.call('XINFO', 'GROUPS', KEYS[3])
end
local function fields(list)
  local f = {}
  for i = 1, #list, 2 do f[list[i]] = list[i + 1] end
  return f
end
local old = {}
for _, g in ipairs(groups) do
  local f = fields(g)
  if string.sub(f['name'], 1, #ARGV[4]) == ARGV[4] then
    local start = f['last-delivered-id']
    if above(start, seen) then seen = start end
    for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[3], f['name'])) do
      local id = string.match(fields(c)['name'], '^seen (%d+%-%d+)$')
      if id and above(id, seen) then seen = id end
    end
    local pending = redis.call('XPENDING', KEYS[3], f['name'])
    if pending[1] > 0 then
      -- the group starts after an entry: the one before the oldest pending
      local before = redis.call('XREVRANGE', KEYS[3], '(' .. pending[2], '-', 'COUNT', 1)
      start = before[1] and before[1][1] or '0-0'
    end
    if not from or above(from, start) then
      from = start
    end
    old[#old + 1] = f['name']
  end
end
if not from then
  from = '0-0'
  -- A stream of which something was trimmed had a group: somebody has deleted it, and
  -- anything may have been seen.
  if redis.call('EXISTS', KEYS[3]) == 1 then
    local f = fields(redis.call('XINFO', 'STREAM', KEYS[3]))
    if f['entries-added'] and f['entries-added'] > f['length'] then
      seen = f['last-generated-id']
    end
  end
end

-- The old group may have the new one's name: a worker took back what it had given
-- away.
for _, name in ipairs(old) do
  redis.call('XGROUP', 'DESTROY', KEYS[3], name)
end

-- What lies up to the start is acknowledged and trimmed, so what is left behind it is the
-- lag. The old group's entries-read is no measure: replicas and the append-only file do
-- not get it exactly, and after a failover its lag stays wrong. Where the server does not
-- know the option, the group works all the same.
local read
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('XTRIM', KEYS[3], 'MINID', from)
  local added = fields(redis.call('XINFO', 'STREAM', KEYS[3]))['entries-added']
  if added then
    read = added - redis.call('XLEN', KEYS[3]) + #redis.call('XRANGE', KEYS[3], from, from)
  end
end
local created = false
if read and read >= 0 then
  local r = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[3], from, 'MKSTREAM', 'ENTRIESREAD', read)
  created = not (type(r) == 'table' and r.err)
end
if not created then
  redis.call('XGROUP', 'CREATE', KEYS[3], ARGV[3], from, 'MKSTREAM')
end
redis.call('XGROUP', 'CREATECONSUMER', KEYS[3], ARGV[3], 'seen ' .. seen)
return {epoch, seen, from}
