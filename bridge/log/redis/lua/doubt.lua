-- A process asks whether the history is still the one that it has read. If it is lost, another one
-- begins. Return why it is lost ('' if it is not) and the epoch.
local epoch, last, appends, above, shape, schema, fresh, process = unpack(ARGV)

local why = loss(epoch, last, appends)
if why and why ~= 'other' then
  begin(fresh, shape, schema, epoch, above)
elseif not why then
  verify(process)
end
return {why or '', redis.call('HGET', META, 'epoch')}
