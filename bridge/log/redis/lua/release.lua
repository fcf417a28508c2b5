-- End the term and free the lease; the entry wakes the processes that wait for it.
local token, term_id = unpack(ARGV)

if not holds(token, term_id) then
  return 'fenced'
end
end_term()
redis.call('DEL', LEASE)
add('k', 'f')
return 'ok'
