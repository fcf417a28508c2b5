-- Renew the lease. With `beat`, show the followers that the leader is there, and in which epoch: a
-- history that began at the same id as the one they read shows nothing else to them.
local token, term_id, ttl, beat, maxlen = unpack(ARGV)

if not holds(token, term_id) or damage() then
  return 'fenced'
end
redis.call('SET', LEASE, token, 'PX', ttl)
if beat == '1' then
  add('k', 'b', 'm', facts('epoch').epoch)
  redis.call('XTRIM', STREAM, 'MAXLEN', '~', maxlen)
end
return 'ok'
