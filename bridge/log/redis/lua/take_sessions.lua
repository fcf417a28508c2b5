-- Make sessions those of a process. Return each one, or false.
local owner = ARGV[1] .. '|'

local found = {}
for i = 2, #ARGV do
  local stored = redis.call('HGET', SESSIONS, ARGV[i])
  if stored then
    local session = string.sub(stored, string.find(stored, '|', 1, true) + 1)
    redis.call('HSET', SESSIONS, ARGV[i], owner .. session)
    found[#found + 1] = session
  else
    found[#found + 1] = false
  end
end
return found
