-- Store or delete ('') the sessions of a process: pairs of name and session. Return the names of
-- those that belong to another process; they stay as they are.
local owner = ARGV[1] .. '|'

local refused = {}
for i = 2, #ARGV, 2 do
  local name, session = ARGV[i], ARGV[i + 1]
  local stored = redis.call('HGET', SESSIONS, name)
  if stored and string.sub(stored, 1, #owner) ~= owner then
    refused[#refused + 1] = name
  elseif session == '' then
    redis.call('HDEL', SESSIONS, name)
  else
    redis.call('HSET', SESSIONS, name, owner .. session)
  end
end
return refused
