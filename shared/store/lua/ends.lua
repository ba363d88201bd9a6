-- Tells of a history where it begins and ends, how large it is, and what follows an id,
-- without handing an entry out: each may be large.
--
-- KEYS[1] history
-- ARGV[1] the id after the one that a reader has, '' if nobody wants to know what follows
-- ARGV[2] bytes up to which the entries are added up where they have no sums, '' if not
-- Result: {} where there is none; else {oldest id, its prev, newest id, its sum or '', bytes
-- or -1, number of entries, following id or '', its prev, its `first`}
local oldest, newest = ends(KEYS[1])
if not oldest then return {} end
local size, sum = bytes(oldest, newest), newest.sum
if not size and ARGV[2] ~= '' then
  size = walk(KEYS[1], newest.id, tonumber(ARGV[2]), 0)
  sum = size
end
local follows = {id = '', prev = '', first = ''}
if ARGV[1] ~= '' and not above(ARGV[1], newest.id) then
  follows = oldest
  if above(ARGV[1], oldest.id) then -- else it is the oldest one, and need not be read again
    follows = look(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)[1])
  end
end
return {
  oldest.id, oldest.prev, newest.id, sum and string.format('%.0f', sum) or '', size or -1,
  redis.call('XLEN', KEYS[1]), follows.id, follows.prev, follows.first,
}
