-- Begin a term if the lease is free, and if the history is the one that the process has read.
local epoch, last, appends, above, shape, schema, fresh, token, term_id, ttl = unpack(ARGV)

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
end_term()
local m = facts('term', 'appends')
local term = text(tonumber(m.term) + 1)
redis.call('SET', LEASE, token, 'PX', ttl)
redis.call('HSET', META, 'term', term, 'term_id', term_id, 'base', m.appends)
add('k', 't', 'm', term)
return {'acquired', term, m.appends}
