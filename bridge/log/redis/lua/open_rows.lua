-- Open the rows that a leader has beside the log, and make the caller the only one that may write
-- them: the last one that opened them. Rows with other columns, or not all rows, are dropped.
local META, ROWS = unpack(KEYS)
local token, shape, schema = unpack(ARGV)

local m = redis.call('HMGET', META, 'schema', 'shape', 'rows')
if m[1] ~= schema or m[2] ~= shape or redis.call('HLEN', ROWS) ~= tonumber(m[3] or '-1') then
  redis.call('UNLINK', META, ROWS)
  redis.call('HSET', META, 'schema', schema, 'shape', shape, 'rows', '0', 'progress', '')
end
redis.call('HSET', META, 'token', token)
return redis.call('HGET', META, 'progress')
