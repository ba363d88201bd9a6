-- Stands before the scripts that look at what their keys hold before they change anything (scripts.go).
--
-- wrongType(wants): the error to return if one of the first keys holds another type than the one wanted; nil if none does.
local function wrongType(wants)
  for i, want in ipairs(wants) do
    local holds = redis.call('TYPE', KEYS[i]).ok
    if holds ~= 'none' and holds ~= want then
      return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' holds a ' .. holds .. ', want a ' .. want)
    end
  end
end

