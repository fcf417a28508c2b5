-- A process is there. Return all processes that are, or were within `forget` milliseconds (a negative
-- time: it has stopped); the others are removed.
local process, forget = unpack(ARGV)

server_changed() -- before the beats of the one before are replaced
local now = now_ms()
redis.call('HSET', MACHINES, process, text(now))
local machines, known = redis.call('HGETALL', MACHINES), {}
for i = 1, #machines, 2 do
  if now - math.abs(tonumber(machines[i + 1])) > tonumber(forget) then
    redis.call('HDEL', MACHINES, machines[i])
  else
    known[#known + 1] = machines[i]
  end
end
return known
