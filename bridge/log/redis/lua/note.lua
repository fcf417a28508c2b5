-- Add a note to the stream.
local epoch, head, data, maxlen = unpack(ARGV)

if redis.call('HGET', META, 'epoch') ~= epoch or damage() then
  return 'history'
end
add('k', 'n', 'm', head, 'e', data)
redis.call('XTRIM', STREAM, 'MAXLEN', '~', maxlen)
return 'ok'
