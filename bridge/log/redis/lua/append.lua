-- Store one append: an entry of the stream, its rows, and the progress. Everything is tested before
-- the first write, since Redis does not undo the writes of a script that fails.
local token, term_id, ttl, epoch, appends, tag, n, at, minid, maxlen, progress, events, rows, puts =
  unpack(ARGV, 1, 14)
local FIRST = 15 -- `puts` pairs of key and row, then the keys of deleted rows
local MAX = 1000 -- arguments of one command, less than Lua can pass

local m = facts('epoch', 'appends', 'head', 'base', 'top', 'rows', 'tag')
if m.tag == tag then
  return 'ok' -- a repeat, whose first answer was lost
elseif not holds(token, term_id) then
  return 'fenced'
elseif m.epoch ~= epoch or m.appends ~= appends or damage() then
  return 'history'
end

local number = text(tonumber(m.appends) + 1)
local head = text(tonumber(m.head) + tonumber(n))
local id = tonumber(n) > 0 and head .. '-0' or next_id(m.top)
local fields = {'k', 'a', 'm', table.concat({epoch, term_id, m.base, number, head, n, tag, at}, ' ')}
for name, value in pairs({p = progress, e = events, w = rows}) do
  if value ~= '' then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end
redis.call('XADD', STREAM, id, unpack(fields))

local count = tonumber(m.rows)
local last_put = FIRST - 1 + 2 * tonumber(puts)
for i = FIRST, last_put, MAX do
  count = count + redis.call('HSET', ROWS, unpack(ARGV, i, math.min(i + MAX - 1, last_put)))
end
for i = last_put + 1, #ARGV, MAX do
  count = count - redis.call('HDEL', ROWS, unpack(ARGV, i, math.min(i + MAX - 1, #ARGV)))
end
local changed = {'appends', number, 'head', head, 'last', term_id, 'top', id, 'tag', tag,
  'rows', text(count)}
if progress ~= '' then
  changed[#changed + 1] = 'progress'
  changed[#changed + 1] = progress
end
redis.call('HSET', META, unpack(changed))
if minid ~= '' then
  redis.call('XTRIM', STREAM, 'MINID', '~', minid)
end
redis.call('XTRIM', STREAM, 'MAXLEN', '~', maxlen)
redis.call('SET', LEASE, token, 'PX', ttl)
return 'ok'
