-- Delete sessions, pairs of name and owner, that still belong to that owner.
for i = 1, #ARGV, 2 do
  local name, owner = ARGV[i], ARGV[i + 1] .. '|'
  local stored = redis.call('HGET', SESSIONS, name)
  if stored and string.sub(stored, 1, #owner) == owner then
    redis.call('HDEL', SESSIONS, name)
  end
end
return 'ok'
