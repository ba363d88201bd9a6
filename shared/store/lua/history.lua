-- Stands before the scripts that look at histories (scripts.go).
--
-- look(entry): an entry of XRANGE as {id, prev, first, sum, size}; the texts are '' where it
-- has none. size is that of HistoryBytes, sum the bytes of all entries up to this one.
local weighed = {data = true, event = true, from = true, except = true, traceparent = true}
local function look(entry)
  local e = {id = entry[1], prev = '', first = '', size = 64}
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if weighed[name] then
      e.size = e.size + #value
    elseif name == 'prev' or name == 'first' then
      e[name] = value
    elseif name == 'sum' then
      e.sum = tonumber(value)
    end
  end
  return e
end

-- ends(key): the oldest entry of a history and the newest one; nil if it has none.
local function ends(key)
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not oldest then return nil end
  return look(oldest), look(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1])
end

-- bytes(oldest, newest): of all entries, 'at most' where the oldest ones have no sum; nil
-- where the newest one has none: a version that kept none wrote it, or somebody by hand.
local function bytes(oldest, newest)
  if not newest.sum then return nil end
  if not oldest.sum or oldest.sum > newest.sum then return newest.sum end
  return newest.sum - oldest.sum + oldest.size
end

-- walk(key, newest, most, left): adds up the sizes from the newest entry back, and stops
-- above most. Result: the bytes; the oldest entry, with the newest one, of those that have
-- no more than left, and their bytes.
local function walk(key, newest, most, left)
  local total, kept, keep = 0, 0, newest
  local from = newest
  repeat
    local list = redis.call('XREVRANGE', key, total == 0 and from or '(' .. from, '-', 'COUNT', 16)
    for i = 1, #list do
      local e = look(list[i])
      from, total = e.id, total + e.size
      if total <= left or kept == 0 then
        keep, kept = e.id, total
      end
      if total > most then return total, keep, kept end
    end
  until #list < 16
  return total, keep, kept
end
