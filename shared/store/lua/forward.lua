-- Appends intake entries to a partition, once: what is not above the last id that
-- was forwarded has been appended before.
--
-- KEYS[1] forwarded   KEYS[2] the partition's stream
-- ARGV[1] '1': the owner of the intake knows that there is a mark
-- ARGV: for each entry its intake id, the number of its fields and values, and these
-- Result: {how many were appended, the last id that counts as forwarded, why the next
-- one could not be appended or ''}; or an error if the mark has gone: Redis has lost it
-- since the entries were read, and what was delivered already would be appended again.
local last = redis.call('GET', KEYS[1])
if not last and ARGV[1] == '1' then
  return redis.error_reply('GONE ' .. KEYS[1])
end
last = last or '0-0'
if not string.match(last, '^%d+%-%d+$') then
  -- to begin at 0 could append everything again, so this is for a person to decide
  return redis.error_reply('ERR ' .. KEYS[1] .. ' holds no id: set it to the last intake id that was forwarded, or delete it')
end
local appended, moved, i, failed = 0, false, 2, ''
while i <= #ARGV do
  local id, n = ARGV[i], tonumber(ARGV[i + 1])
  if above(id, last) then
    if n > 0 then -- XADD without fields would stop the script half-way
      local added = redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, i + 2, i + 1 + n))
      if type(added) == 'table' and added.err then -- what came before it counts
        failed = added.err
        break
      end
      appended = appended + 1
    end
    last, moved = id, true
  end
  i = i + 2 + n
end
if moved then
  redis.call('SET', KEYS[1], last)
end
return {appended, last, failed}
