-- Gives up the idempotency key of an event that became a dead letter, so that the
-- event can be put back.
--
-- KEYS[1] idempotency key   ARGV[1] id of the event
-- Result: 1, or 0 when the event did not have the key.
local text = redis.pcall('GET', KEYS[1])
if type(text) ~= 'string' then -- there is none, or it is of another type and nobody's
  return 0
end
local others, found = {}, 0
for holder in string.gmatch(text, '%S+') do
  if string.match(holder, '^[^@]+') == ARGV[1] then
    found = 1
  else
    others[#others + 1] = holder
  end
end
if found == 1 and #others == 0 then
  redis.call('DEL', KEYS[1])
elseif found == 1 then
  redis.call('SET', KEYS[1], table.concat(others, ' '), 'KEEPTTL')
end
return found
