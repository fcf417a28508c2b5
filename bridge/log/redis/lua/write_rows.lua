-- Change the rows and the progress, if the caller opened them last. A repeat changes nothing.
local META, ROWS = unpack(KEYS)
local token, progress, puts = unpack(ARGV, 1, 3)
local FIRST = 4 -- `puts` pairs of key and row, then the keys of deleted rows
local MAX = 1000 -- arguments of one command, less than Lua can pass

if redis.call('HGET', META, 'token') ~= token then
  return 'fenced'
end
local last_put = FIRST - 1 + 2 * tonumber(puts)
for i = FIRST, last_put, MAX do
  redis.call('HSET', ROWS, unpack(ARGV, i, math.min(i + MAX - 1, last_put)))
end
for i = last_put + 1, #ARGV, MAX do
  redis.call('HDEL', ROWS, unpack(ARGV, i, math.min(i + MAX - 1, #ARGV)))
end
redis.call('HSET', META, 'rows', redis.call('HLEN', ROWS))
if progress ~= '' then
  redis.call('HSET', META, 'progress', progress)
end
return 'ok'
