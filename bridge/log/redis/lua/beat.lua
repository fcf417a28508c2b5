-- A process is there. Return the number of appends, the term and the holder of the lease, the time,
-- and when each process was there last (negative: it has stopped). Those that were not for `forget` milliseconds are removed.
local process, forget = unpack(ARGV)

local now = now_ms()
redis.call('HSET', MACHINES, process, text(now))
local machines, kept = redis.call('HGETALL', MACHINES), {}
for i = 1, #machines, 2 do
  if now - math.abs(tonumber(machines[i + 1])) > tonumber(forget) then
    redis.call('HDEL', MACHINES, machines[i])
  else
    kept[#kept + 1] = machines[i]
    kept[#kept + 1] = machines[i + 1]
  end
end
local m = facts('appends', 'term')
return {m.appends or '0', m.term or '0', redis.call('GET', LEASE) or '', text(now), kept}
