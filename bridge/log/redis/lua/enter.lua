-- A process begins to follow: return where the history is. One of another version or with other
-- columns is replaced, unless a process that uses it was seen within `alive` milliseconds.
local process, shape, schema, fresh, alive = unpack(ARGV)

local m = facts('epoch', 'schema', 'shape')
local now, began = now_ms(), ''
if not m.epoch then
  began = redis.call('EXISTS', META, STREAM, ROWS) > 0 and 'gone' or 'new'
elseif tonumber(m.schema) > tonumber(schema) then
  return {'schema', m.schema}
elseif m.schema ~= schema or m.shape ~= shape then
  local machines, others = redis.call('HGETALL', MACHINES), 0
  for i = 1, #machines, 2 do
    if machines[i] ~= process and now - tonumber(machines[i + 1]) < tonumber(alive) then
      others = others + 1
    end
  end
  if others > 0 then
    return {m.schema ~= schema and 'schema' or 'shape', m.schema, text(others)}
  end
  began = 'shape'
else
  began = damage() or ''
end
if began ~= '' then
  begin(fresh, shape, schema, -1)
end
redis.call('HSET', MACHINES, process, text(now))
m = facts('epoch', 'head', 'appends', 'last', 'top', 'term', 'progress')
return {'ok', began, m.epoch, m.head, m.appends, m.last, m.top, m.term, m.progress}
