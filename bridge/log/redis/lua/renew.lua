-- Renew the lease. With `beat`, show the followers that the leader is there.
local token, term_id, ttl, beat, maxlen = unpack(ARGV)

if not holds(token, term_id) or damage() then
  return 'fenced'
end
redis.call('SET', LEASE, token, 'PX', ttl)
if beat == '1' then
  add('k', 'b')
  redis.call('XTRIM', STREAM, 'MAXLEN', '~', maxlen)
end
return 'ok'
