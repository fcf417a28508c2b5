-- Begin a term if the lease is free, and if the history is the one that the process has read.
-- On another server it waits for the processes that have not verified what they have read, for
-- `patience` milliseconds; then one that is gone may have read more, and another history begins.
local epoch, last, appends, above, shape, schema, fresh, process, token, term_id, ttl, patience =
  unpack(ARGV)

local holder = redis.call('GET', LEASE)
if holder == token then -- the answer was lost
  local m = facts('term', 'base')
  return {'acquired', m.term, m.base}
elseif holder then
  return {'held', text(redis.call('PTTL', LEASE))}
end
local why = loss(epoch, last, appends)
if why then
  if why ~= 'other' then
    begin(fresh, shape, schema, epoch, above)
  end
  return {'lost', why}
end
verify(process)
if server_changed() and is_unverified() then
  if now_ms() - tonumber(redis.call('HGET', META, 'changed_at')) < tonumber(patience) then
    return {'held', '250'}
  end
  begin(fresh, shape, schema, epoch, above)
  return {'lost', 'unverified'}
end
trust_server()
end_term()
local m = facts('term', 'appends')
local term = text(tonumber(m.term) + 1)
redis.call('SET', LEASE, token, 'PX', ttl)
redis.call('HSET', META, 'term', term, 'term_id', term_id, 'base', m.appends,
  'leader', process)
add('k', 't', 'm', term)
return {'acquired', term, m.appends}
