-- A process begins to follow: return where the history is. One of another version or with other
-- columns is replaced, unless a process that uses it was seen within `alive` milliseconds.
local process, shape, schema, fresh, alive = unpack(ARGV)

server_changed()
local m = facts('epoch', 'schema', 'shape', 'head')
local now, began, others = now_ms(), '', 0
local machines = redis.call('HGETALL', MACHINES)
for i = 1, #machines, 2 do
  -- One that has stopped has a negative time, which is past any limit.
  if machines[i] ~= process and now - tonumber(machines[i + 1]) < tonumber(alive) then
    others = others + 1
  end
end
if not m.epoch then
  began = redis.call('EXISTS', META, STREAM, ROWS) > 0 and 'gone' or 'new'
elseif tonumber(m.schema) > tonumber(schema) then
  return {'schema', m.schema}
elseif m.schema ~= schema or m.shape ~= shape then
  if others > 0 then
    return {m.schema ~= schema and 'schema' or 'shape', m.schema, text(others)}
  end
  began = 'shape'
else
  began = damage() or ''
end
if began ~= '' then
  begin(fresh, shape, schema, '', -1)
elseif others == 0 then
  -- No process can tell whether the history went back while none ran: it goes on in another epoch,
  -- and what was lost of the one before is past its known end.
  redis.call('RPUSH', EPOCHS, m.epoch .. ':' .. m.head)
  redis.call('LTRIM', EPOCHS, -MAX_EPOCHS, -1)
  local epoch = text(count_of(m.epoch) + 1) .. '.' .. fresh
  redis.call('HSET', META, 'epoch', epoch)
  add('k', 'h', 'm', epoch)
  trust_server()
else
  verify(process)
end
redis.call('HSET', MACHINES, process, text(now))
m = facts('epoch', 'head', 'appends', 'last', 'top', 'term', 'progress')
return {'ok', began, m.epoch, m.head, m.appends, m.last, m.top, m.term, m.progress,
  redis.call('LRANGE', EPOCHS, 0, -1)}
